"""An independent count of what a run folder holds, against the undisturbed run's. None of Muster's own code reads here.

Formats as in docs/run-folder.md.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

_RECORD = b'{"completion":'
_SEAL = re.compile(rb',"crc":"([0-9a-f]{8})"\}')

Key = tuple[str, str, int]
"""Task, sample id, repeat."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What the undisturbed run found out."""

    answers: Mapping[Key, object]
    """Prediction, what was read out of it, and scores, of each sample."""
    texts: Mapping[Key, object]
    tasks: Mapping[str, object]
    """`tasks` of results.json."""


@dataclass(frozen=True, slots=True)
class Audit:
    """How a run folder differs from the truth. Samples, but for `different`: and metrics."""

    lost: int
    """No answer in the journal, or none in the table of samples."""
    twice: int
    """More than one answer in the journal, or more than one row in the table."""
    different: int
    """Another prediction or score than the undisturbed run's."""


def truth_of(folder: Path) -> Truth:
    """Read the undisturbed run."""
    rows = _rows(folder)
    texts = {key: row["prediction"] for key, row in rows}
    return Truth({key: _outcome(row) for key, row in rows}, texts, _tasks(folder))


def audit(folder: Path, truth: Truth, poison: str | None = None) -> Audit:
    """Compare. The sample `poison` must have no answer, and be in the table as given up.

    A folder that was never completed has lost all that it lacks.
    """
    journal = folder / "journal.jsonl"
    answered = Counter(answers_in(journal.read_bytes()) if journal.exists() else ())
    rows = _rows(folder) if (folder / "samples.parquet").exists() else []
    tabled = Counter(key for key, row in rows if _has_outcome(key, row, poison))
    expected = set(truth.answers)
    healthy = {key for key in expected if key[1] != poison}
    lost = {key for key in expected if not tabled[key]} | {key for key in healthy if not answered[key]}
    twice = {key for key in answered | tabled if answered[key] > 1 or tabled[key] > 1}
    strange = set(answered) - healthy
    different = {key for key, row in rows if key in healthy and _outcome(row) != truth.answers[key]} | strange
    metrics = 0
    if poison is None and (folder / "results.json").exists():
        tasks = _tasks(folder)
        metrics = sum(tasks.get(name) != task for name, task in truth.tasks.items())
    return Audit(len(lost), len(twice), len(different) + metrics)


def answers_in(journal: bytes) -> list[Key]:
    """The requests of all intact records with an answer; a record is intact when its checksum is right."""
    found: list[Key] = []
    start = journal.find(_RECORD)
    while start >= 0:
        seal = _SEAL.search(journal, start)
        if seal is None:
            break
        body = journal[start : seal.start()]
        intact = zlib.crc32(body) == int(seal[1], 16)
        if intact:
            completion = json.loads(body + b"}")["completion"]
            if completion["text"] is not None:
                task, sample, repeat = completion["key"]
                found.append((task, sample, repeat))
        start = journal.find(_RECORD, seal.end() if intact else start + 1)
    return found


def is_complete(folder: Path) -> bool:
    """Whether the results say that every sample was answered or given up."""
    results = folder / "results.json"
    return results.exists() and bool(json.loads(results.read_bytes())["complete"])


def _rows(folder: Path) -> list[tuple[Key, dict[str, object]]]:
    rows: list[dict[str, object]] = pq.read_table(folder / "samples.parquet").to_pylist()
    return [((str(row["task"]), str(row["id"]), int(str(row["repeat"]))), row) for row in rows]


def _has_outcome(key: Key, row: dict[str, object], poison: str | None) -> bool:
    if key[1] == poison:
        return row["error_kind"] == "replica"
    return row["prediction"] is not None


def _outcome(row: dict[str, object]) -> object:
    return row["prediction"], row["extracted"], row["scores"]


def _tasks(folder: Path) -> Mapping[str, object]:
    tasks: Mapping[str, object] = json.loads((folder / "results.json").read_bytes())["tasks"]
    return tasks
