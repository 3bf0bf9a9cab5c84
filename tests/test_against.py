"""`benchmarks.against` measures what it says, with the code of the checkout that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.against import HERE, PARTS, compare, measure, prepare
from benchmarks.runs import RunFailedError


def test_every_figure_of_every_part_is_there(tmp_path: Path) -> None:
    parts = [part for part in PARTS if part.name in ("first-tsv", "queue-jsonl", "score", "resume")]
    table, _ = compare(HERE, parts, 50)
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [part.does for part in parts]
    for row in rows:
        figures = [
            float(cell.replace(",", "")) for place, cell in enumerate(row[1:], 1) if place not in (4, 8)
        ]
        before, now, ratio = figures[3:]  # a process has some MiB; so few rows may take no time at all
        assert min(before, now) > 10
        assert ratio == pytest.approx(now / before, abs=0.03)
        assert min(figures) >= 0


def test_the_code_is_the_checkouts(tmp_path: Path) -> None:
    prepare(tmp_path, 3)
    with pytest.raises(RunFailedError, match=r"No module named 'muster\.config'"):
        other = tmp_path / "other"
        (other / "src" / "muster").mkdir(parents=True)
        (other / "src" / "muster" / "__init__.py").touch()
        measure(other, PARTS[0], tmp_path)
