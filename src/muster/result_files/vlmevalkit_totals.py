"""The score that stands for a dataset, from the tables of totals that VLMEvalKit writes beside its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from muster.core import ConfigurationError
from muster.result_files.answers import as_number
from muster.result_files.json_document import read_document
from muster.result_files.loaded import Headline
from muster.tasks.sources.rows import read_rows

_ENDINGS = ("_acc", "_score", "_result", "_rating")
_PARTS = 3
_NAMES = ("Overall", "overall", "Final Score Norm", "Final Score", "acc", "aAcc")


def headline_beside(predictions: Path) -> Headline | None:
    """The total of the dataset whose predictions file is `predictions`; None where none is found."""
    for path in _totals(predictions):
        try:
            found = _in_json(path) if path.suffix == ".json" else _in_table(path)
        except ConfigurationError:
            continue  # of another shape
        if found is not None:
            return found
    return None


def _totals(predictions: Path) -> Iterator[Path]:
    """Those of this file, not of one whose name goes on: a total's name adds a judge and a step at most."""
    stem = predictions.stem
    tables = [each for each in sorted(predictions.parent.iterdir()) if each.suffix in (".csv", ".json")]
    for ending in _ENDINGS:
        for path in tables:
            added = path.stem.removeprefix(stem)
            if added != path.stem and added.endswith(ending) and added.count("_") <= _PARTS:
                yield path


def _in_json(path: Path) -> Headline | None:
    return _named(read_document(path))


def _in_table(path: Path) -> Headline | None:
    """The first row's, or the row's that is called Overall."""
    rows = [row.cells for row in read_rows(path)]
    for row in rows:
        if "Overall" in (row.get("split"), row.get("Task&Skill"), row.get("Category")):
            numbers = [
                (name, number) for name, cell in row.items() if (number := as_number(cell)) is not None
            ]
            if numbers:
                return Headline(*numbers[-1])
    return _named(rows[0]) if rows else None


def _named(cells: Mapping[str, object]) -> Headline | None:
    for name in _NAMES:
        if (number := as_number(cells.get(name))) is not None:
            return Headline(name, number)
    return None
