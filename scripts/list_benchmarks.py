"""Writes the tables of docs/benchmarks.md from the catalogue: `python scripts/list_benchmarks.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from muster.metrics.registry import variants_of
from muster.tasks.definition import Task
from muster.tasks.registry import CATALOGUE, TaskListing, list_tasks, load_tasks
from muster.tasks.sources.huggingface import HubRows
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.native import FileRows
from muster.tasks.sources.tsv import TsvRows

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_TABLE = "<!-- {0}: made by scripts/list_benchmarks.py -->\n{1}<!-- end of {0} -->"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def page(text: str) -> str:
    """The page with its tables as the catalogue has them now."""
    own = (listing for listing in list_tasks() if Path(listing.origin).parent == CATALOGUE)
    listings = sorted(own, key=lambda listing: listing.name)
    tasks = load_tasks([listing.name for listing in listings])
    for name, table in (("tasks", _task_table(tasks, listings)), ("groups", _group_table(listings))):
        old = re.compile(_TABLE.format(name, ".*?"), re.DOTALL)
        text = old.sub(lambda _: _TABLE.format(name, table), text)  # noqa: B023 - used at once
    return text


def _task_table(tasks: Sequence[Task], listings: Sequence[TaskListing]) -> str:
    rows = [
        "| task | what | rows | metric: its scoring variants, default first | groups | data | licence |",
        "|" + "---|" * 7,
    ]
    for task, listing in zip(tasks, listings, strict=True):
        variants = ", ".join(variants_of(task.metric))
        cells = (
            f"`{task.name}`",
            task.description,
            _rows(task),
            f"`{task.metric.info.name}`: {variants}",
            ", ".join(listing.groups),
            _pin(task),
            task.licence,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _group_table(listings: Sequence[TaskListing]) -> str:
    members: dict[str, list[str]] = {}
    for listing in listings:
        for group in listing.groups:
            members.setdefault(group, []).append(listing.name)
    rows = ["| group | tasks |", "|---|---|"]
    rows += [f"| `{group}` | {', '.join(names)} |" for group, names in sorted(members.items())]
    return "\n".join(rows) + "\n"


def _rows(task: Task) -> str:
    expected = task.source.expected_rows if isinstance(task.source, MappedSource) else None
    return "" if expected is None else f"{expected:,}"


def _pin(task: Task) -> str:
    """What keeps the data the same tomorrow."""
    origin = task.source.origin if isinstance(task.source, MappedSource) else None
    if isinstance(origin, HubRows):
        return "hub, commit" if _COMMIT.fullmatch(origin.repository.revision) else "hub, branch"
    if isinstance(origin, TsvRows) and origin.folder.downloads:
        return "file, " + "".join({each.algorithm or "unchecked" for each in origin.folder.downloads})
    shipped = isinstance(origin, FileRows) and all((CATALOGUE / name).is_file() for name in origin.files)
    return "in Muster" if shipped else "you bring it"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
