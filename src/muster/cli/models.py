"""`muster models`: list the backends and engines, or show what is known of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[
        str | None, typer.Argument(help="A model folder or `demo`; all backends without it.")
    ] = None,
) -> None:
    """List the backends and engines, or show a model folder: architecture, files, fingerprint."""
    from rich.table import Table
    from rich.text import Text

    from muster.engines.registry import BUILTIN as engines  # noqa: N811
    from muster.engines.registry import list_engines
    from muster.models.registry import BUILTIN, list_backends, resolve_model
    from muster.report.console import terminal

    console = terminal()
    if name is None:
        table = Table("backend", "", header_style="bold", pad_edge=False)
        for backend in list_backends():
            builtin = BUILTIN.get(backend)
            table.add_row(Text(backend), Text(builtin.summary if builtin else "of an installed package"))
        console.print(table)
        console.print(
            "--model: `demo`, a folder or a hub id; for servers, their name for it. "
            "A class of your own: --backend module:Class\n"
        )
        table = Table("engine", "", header_style="bold", pad_edge=False)
        for engine in list_engines():
            kind = engines.get(engine)
            table.add_row(Text(engine), Text(kind.summary if kind else "of an installed package"))
        console.print(table)
        console.print("--engine: one of these, or auto, which takes the one that fits; docs/own-engine.md")
        return
    table = Table(title=Text(name, style="bold"), show_header=False, pad_edge=False, title_justify="left")
    for label, text in _describe(resolve_model(name)).items():
        table.add_row(Text(label, style="bold"), Text(text))
    console.print(table)


def _describe(model: str) -> dict[str, str]:
    import json

    from muster.core import ConfigurationError
    from muster.results.fingerprint import model_fingerprint

    if not Path(model).is_dir():
        return {"hub id": model, "note": "fetched by the first worker of each node; nothing is known before"}
    file = Path(model) / "config.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigurationError(f"{file} is not JSON: {error}") from error
    weights = sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
    return {
        "folder": model,
        "architecture": ", ".join(settings.get("architectures") or [settings.get("model_type", "?")]),
        "dtype": str(settings.get("dtype") or settings.get("torch_dtype") or "?"),
        "weights": f"{weights / 1e6:,.2f} MB",
        "fingerprint": json.dumps(model_fingerprint(model, "transformers", {}).get("weights", ""), indent=1),
    }
