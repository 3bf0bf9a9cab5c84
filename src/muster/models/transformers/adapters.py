"""A model with an adapter beside its weights: first the one, then the other, each looked at for what it lacks.

transformers loads both in one call where peft is installed, and then reports of the adapter alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from muster.core import ConfigurationError
from muster.models.transformers.unloadable import why_unloadable
from muster.models.weights import ADAPTER_CONFIG, ADAPTER_WEIGHTS


def without_adapter(folder: Path) -> tuple[Path, TemporaryDirectory[str]]:
    """A folder of links to all files but the adapter's, for as long as the second value lives."""
    room = TemporaryDirectory(prefix="muster-")
    view = Path(room.name) / folder.name  # a model's own code is imported by its folder's name
    view.mkdir()
    for file in folder.resolve().iterdir():
        if file.name not in (ADAPTER_CONFIG, *ADAPTER_WEIGHTS):
            (view / file.name).symlink_to(file)
    return view, room


def add_adapter(model: Any, folder: Path) -> None:
    """Load the folder's adapter into its model. Raises `ConfigurationError` where a part of it finds no place."""
    try:
        report = model.load_adapter(str(folder))
    except Exception as error:
        raise ConfigurationError(
            f"the adapter in {folder} can't be loaded: {why_unloadable(error, folder)}"
        ) from error
    for keys, what in (
        (getattr(report, "missing_keys", ()), "lacks weights that its adapter_config.json asks for"),
        (getattr(report, "unexpected_keys", ()), "holds weights that the model has no place for"),
        (_names(getattr(report, "mismatched_keys", ())), "holds weights of another shape than the model's"),
    ):
        if keys:
            raise ConfigurationError(
                f"the adapter in {folder} {what} ({', '.join(sorted(keys)[:3])} …): it belongs to another model, or to "
                "another version of its code"
            )


def _names(mismatched: Iterable[Any]) -> list[str]:
    return [str(each[0]) if isinstance(each, tuple) else str(each) for each in mismatched]
