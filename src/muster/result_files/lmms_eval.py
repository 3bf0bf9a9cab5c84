"""Reads what lmms-eval wrote with `--log_samples` (layout of 0.7.3, 5 August 2026).

A model's folder holds `TIME_samples_TASK.jsonl`, one line per question, and `TIME_results.json`. A line has `doc_id`
(the place of the question in its split), `target`, `input`, `filtered_resps`, `resps` where they differ, and each
metric's value: a number, or an object with one under `score`. `doc_hash` is the same for all questions of a task, so
questions are known by `doc_id` and checked by `target`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.core import ConfigurationError
from muster.core.numbers import whole
from muster.result_files import lmms_eval_metrics as metrics
from muster.result_files.answers import NO_CLUSTERS, ReadAnswer, as_text, digest, loaded_task
from muster.result_files.json_document import read_document
from muster.result_files.lmms_eval_settings import group_scores, run_settings, task_settings
from muster.result_files.loaded import LoadedRun, LoadedTask
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_rows

KIND = "lmms-eval samples"
_SAMPLES = re.compile(r"(?P<time>.*?)_?samples_(?P<task>.+)\.jsonl$")
_RESULTS = "_results.json"


@dataclass(frozen=True, slots=True)
class _File:
    """One task's samples file."""

    path: Path
    time: str
    task: str

    @property
    def results(self) -> Path:
        """The scores written with it."""
        return self.path.with_name(f"{self.time}{_RESULTS}")


def is_lmms_eval(path: Path) -> bool:
    """Whether `path` is such a file, a model's folder of them, or the output folder with one model's."""
    if path.is_file():
        return _samples_file(path) is not None or path.name.endswith(_RESULTS)
    return any(True for _ in _written_in(path)) or bool(_folders(path))


def read_lmms_eval(path: Path) -> LoadedRun:
    """Read the newest samples of each task at `path`. Raises `ConfigurationError`, with file and line."""
    files, notes = _files(path)
    documents = {each.results: read_document(each.results) for each in files if each.results.is_file()}
    if missing := [each.task for each in files if each.results not in documents]:
        notes.append(
            f"no {_RESULTS[1:]} beside the samples of {', '.join(missing)}: no headline scores, no settings"
        )
    tasks: dict[str, LoadedTask] = {}
    settings: dict[str, str] = {}
    complete = True
    for each in files:
        document = documents.get(each.results, {})
        rows, said = _one_filter(list(_rows(each.path)), each, document)
        tasks[each.task] = _task(each, rows, document)
        notes += said
        settings |= run_settings(document) | task_settings(document, each.task)
        settings[f"tasks.{each.task}.inputs"] = digest(
            [as_text(row.cells.get("input")) or "" for row in rows]
        )
        complete = complete and len(rows) >= _asked(document, each.task)
    label = settings.get("model") or files[0].path.parent.name
    return LoadedRun(
        label=label,
        path=path,
        kind=KIND,
        tasks=tasks,
        complete=complete,
        settings=settings,
        notes=(*notes, NO_CLUSTERS),
        groups=group_scores(documents.values()),
    )


def _samples_file(path: Path) -> _File | None:
    found = _SAMPLES.fullmatch(path.name)
    return None if found is None else _File(path, found["time"], found["task"])


def _written_in(folder: Path) -> Iterator[Path]:
    return (
        each
        for each in folder.iterdir()
        if each.is_file() and (_samples_file(each) or each.name.endswith(_RESULTS))
    )


def _folders(path: Path) -> list[Path]:
    return sorted(
        each
        for each in path.iterdir()
        if each.is_dir() and any(_samples_file(file) for file in _written_in(each))
    )


def _files(path: Path) -> tuple[list[_File], list[str]]:
    """The files to read, and what to say of the choice."""
    if path.is_file() and (one := _samples_file(path)) is not None:
        return [one], []
    folder, time = (path, None) if path.is_dir() else (path.parent, path.name.removesuffix(_RESULTS))
    if path.is_dir() and not any(_written_in(path)):
        folders = _folders(path)
        if len(folders) > 1:
            raise ConfigurationError(
                f"{path} has results of several models: {', '.join(each.name for each in folders)}. Give one of "
                "these folders"
            )
        folder = folders[0]
    found = [each for file in sorted(folder.iterdir()) if (each := _samples_file(file)) is not None]
    found = [each for each in found if time is None or each.time == time]
    if not found:
        raise ConfigurationError(
            f"{path}: no samples beside the scores, so nothing to pair: run lmms-eval with --log_samples"
        )
    newest: dict[str, _File] = {}
    for each in sorted(found, key=lambda file: file.time):
        newest[each.task] = each
    older = {task: sum(each.task == task for each in found) - 1 for task in newest}
    notes = [
        f"{task}: the newest of {count + 1} was read, {newest[task].path.name}"
        for task, count in older.items()
        if count
    ]
    return list(newest.values()), notes


def _rows(file: Path) -> Iterator[Row]:
    for row in read_rows(file):
        if "doc_id" not in row.cells:
            raise ConfigurationError(f"{row.place}: no `doc_id`: not a line of lmms-eval's samples")
        yield row


def _one_filter(rows: list[Row], file: _File, document: Mapping[str, object]) -> tuple[list[Row], list[str]]:
    """The rows of the first filter: lmms-eval writes all questions once per filter, and not by which."""
    if not rows:
        raise ConfigurationError(f"{file.path} is empty")
    ids = [str(whole(row.cells["doc_id"])) for row in rows]
    count = len(dict.fromkeys(ids))
    times, rest = divmod(len(rows), count)
    if times == 1 and not rest:
        return rows, []
    filters = metrics.filters_of(document, file.task)
    if len(filters) != times or any(
        sorted(ids[:count]) != sorted(ids[n * count : (n + 1) * count]) for n in range(times)
    ):
        twice = next(number for number, each in enumerate(ids) if each in ids[:number])
        raise ConfigurationError(
            f"{rows[twice].place}: doc_id {ids[twice]} stands there a second time; the same run was written twice, or "
            "the samples of several processes were put together. Keep one line of each question"
        )
    return rows[:count], [
        f"{file.task}: the answers of filter {filters[0]!r} are read, the first of {', '.join(filters)}"
    ]


def _task(file: _File, rows: Sequence[Row], document: Mapping[str, object]) -> LoadedTask:
    chosen = metrics.choose(rows, document, file.task)
    answers = [_answer(row, chosen) for row in rows]
    return loaded_task(
        file.task,
        answers,
        score=chosen.name,
        scoring=f"lmms-eval {chosen.name}" if chosen.name else "",
        headline=chosen.headline,
    )


def _answer(row: Row, chosen: metrics.Chosen) -> ReadAnswer:
    cells = row.cells
    read = _flat(cells.get("filtered_resps"))
    raw = _flat(cells.get("resps")) or read
    counts = cells.get("token_counts")
    return ReadAnswer(
        id=str(whole(cells["doc_id"])),
        score=chosen.of(cells),
        extracted="\n".join(read) or None,
        prediction="\n".join(raw),
        prompt_tokens=_tokens(counts, "input_tokens"),
        tokens=_tokens(counts, "output_tokens"),
        metadata=metrics.metadata(cells),
        question=as_text(cells.get("input")),
        answers=None if (target := as_text(cells.get("target"))) is None else (target,),
    )


def _flat(value: object) -> list[str]:
    """Answers, out of whatever lists they lie in; a log-likelihood with its flag stays together."""
    if isinstance(value, list) and not (
        len(value) == 2 and isinstance(value[0], float) and isinstance(value[1], bool)
    ):
        return [item for each in value for item in _flat(each)]
    text = as_text(value)
    return [] if text is None else [text]


def _tokens(counts: object, name: str) -> int | None:
    found = [each.get(name) for each in counts if isinstance(each, dict)] if isinstance(counts, list) else []
    known = [each for each in found if isinstance(each, int)]
    return sum(known) if known else None


def _asked(document: Mapping[str, object], task: str) -> int:
    counts = document.get("n-samples")
    one = counts.get(task) if isinstance(counts, dict) else None
    effective = one.get("effective") if isinstance(one, dict) else None
    return int(effective) if isinstance(effective, int | float) else 0
