"""Verdicts that were recorded elsewhere, by people or by another tool's judge, become the folder's own."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from muster.core import Completion, ConfigurationError
from muster.core.numbers import whole
from muster.judging.session import AnswerToJudge
from muster.results.fingerprint import digest_of
from muster.results.journal import Journal
from muster.results.journal_lines import Verdict
from muster.results.verdicts import Judge, VerdictBook
from muster.tasks.sources.absent import absent
from muster.tasks.sources.rows import read_rows

_SHOWN = 5


class _About(NamedTuple):
    """What a recorded verdict is about; the task only where the file names tasks."""

    task: str | None
    id: str
    repeat: int


def import_verdicts(file: Path, journal: Path, run_id: str, answers: Iterable[AnswerToJudge]) -> VerdictBook:
    """Enter the verdicts of `file` on `answers` into the journal of verdicts. Returns the book of them.

    Each row (JSON lines, CSV …) has the sample's `id`, the `verdict` as a judge would say it, and where it needs them
    `task` and `repeat`. Several rows about an answer are several gradings. The judge is named after the file.

    Raises:
        ConfigurationError: the file can't be read, or has verdicts on answers that there aren't.
        RunError: the journal can't be written.
    """
    recorded = _read(file)
    content = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    judge = Judge(f"recorded in {file.name}", digest_of(["recorded", content]))
    book = VerdictBook(judge)
    used: set[_About] = set()
    verdicts: list[Verdict] = []
    for answer in answers:
        names = [_About(task, answer.sample.id, answer.repeat) for task in (answer.task.name, None)]
        about = next((name for name in names if name in recorded), None)
        if about is None:
            continue
        used.add(about)
        for inquiry in answer.inquiries():
            for grading, text in enumerate(recorded[about]):
                completion, asked = Completion(answer.key, text), book.key(inquiry, grading)
                verdicts.append(
                    Verdict(completion, judge.model, judge.id, inquiry.prompt, asked, time.time())
                )
    if unknown := [about for about in recorded if about not in used]:
        named = ", ".join(
            f"{about.id!r}" + (f" of {about.task}" if about.task else "") for about in unknown[:_SHOWN]
        )
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise ConfigurationError(f"{file} has verdicts on answers that there aren't: {named}{more}")
    with Journal.open(journal, run_id) as written:
        for verdict in verdicts:
            written.append(verdict)
            book.add(verdict)
        written.flush()
    return book


def _read(file: Path) -> dict[_About, list[str]]:
    found: dict[_About, list[str]] = defaultdict(list)
    for row in read_rows(file):
        name, verdict = whole(row.cells.get("id")), whole(row.cells.get("verdict"))
        if absent(name) or absent(verdict):
            raise ConfigurationError(
                f"{row.place}: a recorded verdict has an `id` and a `verdict` (and `task` and `repeat` where needed); "
                f"it has {', '.join(row.cells) or 'nothing'}"
            )
        repeat = str(whole(row.cells.get("repeat") or 0))
        if not repeat.isdecimal():
            raise ConfigurationError(f"{row.place}: repeat: {repeat!r} is no number from 0 on")
        task = row.cells.get("task")
        found[_About(None if absent(task) else str(task), str(name), int(repeat))].append(str(verdict))
    return found
