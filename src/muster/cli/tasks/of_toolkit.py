"""`muster tasks --source lmms-eval`: another toolkit's catalogue, and what of it runs here."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace


def list_of(toolkit: str, only: str, python: str | None, include_path: str | None, path: str | None) -> None:
    """Print the tasks of a toolkit with what keeps them from running. Raises `ConfigurationError`."""
    from rich.table import Table
    from rich.text import Text

    from muster.core import ConfigurationError
    from muster.core.text import printable
    from muster.report.console import terminal
    from muster.toolkits.catalogue import list_catalogue
    from muster.toolkits.options import TOOLKITS, ToolkitOptions

    if toolkit not in TOOLKITS:
        raise ConfigurationError(f"--source {toolkit}: there are {', '.join(TOOLKITS)}")
    options = ToolkitOptions.of_environment()
    if python is not None:
        options = replace(options, lmms_eval_python=python, vlmevalkit_python=python)
    if include_path is not None:
        options = replace(options, include_path=tuple(filter(None, include_path.split(","))))
    if path is not None:
        options = replace(options, vlmevalkit_path=path)
    table = Table("task", "", "why", header_style="bold", pad_edge=False)
    counts: Counter[str] = Counter()
    for each in list_catalogue(toolkit, options, only):
        state = each.state or each.what
        counts[state] += 1
        table.add_row(Text(printable(each.name)), state, Text(printable(each.why)))
    console = terminal()
    console.print(table)
    console.print(Text(", ".join(f"{count} {state}" for state, count in counts.most_common())))
