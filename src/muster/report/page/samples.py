"""The samples of a report as compact shards: what is filtered at once, what is read on demand, and pictures."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from muster.compare.pairing import AlignedTask, metadata_column, score_array
from muster.core.phases import counted
from muster.core.text import valid_text
from muster.report.page.pictures import Pictures, Wanted
from muster.result_files.loaded import LoadedRun, LoadedTask

if TYPE_CHECKING:
    import pyarrow as pa

SHARD = 250
"""Samples per shard, and thumbnails."""
_SEARCHED = 400
"""Characters of a question that are searched and shown in the list."""
UNREADABLE, ERROR, UNFINISHED, CUT_OFF = 1, 2, 4, 8
NO_CATEGORY = ""


@dataclass(slots=True)
class Shard:
    """One block of the page: its id, and its content."""

    id: str
    content: str

    @classmethod
    def of(cls, name: str, value: object) -> Shard:
        """`value` as JSON, gzip and base64."""
        packed = gzip.compress(msgspec.json.encode(value), compresslevel=6, mtime=0)
        return cls(name, base64.b64encode(packed).decode())

    @classmethod
    def of_pictures(cls, number: int, thumbnails: list[str]) -> Shard:
        """A JSON list; pictures don't get smaller by compression."""
        return cls(f"p{number}", msgspec.json.encode(thumbnails).decode())


def shards(
    runs: Sequence[LoadedRun], aligned: Sequence[AlignedTask], letters: Sequence[str], pictures: Pictures
) -> Iterator[Shard]:
    """All shards; the index comes last."""
    rows: dict[str, list[object]] = {name: [] for name in ("id", "task", "search", "gold", "category")}
    per_run: list[dict[str, object]] = [
        {"label": run.label, "letter": letter, "score": [], "extracted": [], "flags": [], "error": []}
        for run, letter in zip(runs, letters, strict=True)
    ]
    known: dict[str, int] = {NO_CATEGORY: 0}
    details: list[object] = []
    wanted: list[Wanted] = []
    number = 0
    for position, task in enumerate(aligned):
        texts = [_texts(each) for each in task.tasks]
        key = category_key(task.tasks[0])
        categories = (
            metadata_column(task.tasks[0], key).to_pylist() if key else [None] * len(task.tasks[0].rows)
        )
        first = task.tasks[0].rows
        ids, repeats = first["id"].to_pylist(), first["repeat"].to_pylist()
        columns = [_light(each, run) for each, run in zip(task.tasks, per_run, strict=True)]
        for row, (sample, repeat) in enumerate(zip(ids, repeats, strict=True)):
            question = texts[0]["question"][row] or ""
            references = texts[0]["answers"][row] or []
            wanted.append(
                Wanted(len(wanted), task.name, sample, any(not column["right"][row] for column in columns))
            )
            rows["id"].append(f"{sample}#{repeat}" if repeat else sample)
            rows["task"].append(position)
            rows["search"].append(question[:_SEARCHED])
            rows["gold"].append(" | ".join(references)[:_SEARCHED])
            rows["category"].append(known.setdefault(categories[row] or NO_CATEGORY, len(known)))
            details.append(
                {
                    "prompt": pictures.prompt(task.name, sample, repeat) or question,
                    "choices": texts[0]["choices"][row] or [],
                    "references": references,
                    "runs": [_detail(text, column, row) for text, column in zip(texts, columns, strict=True)],
                }
            )
            if len(details) == SHARD:
                yield Shard.of(f"d{number}", details)
                details.clear()
                number += 1
    if details:
        yield Shard.of(f"d{number}", details)
    shown: list[list[int]] = [[] for _ in wanted]
    yield from _pictures(pictures, wanted, shown)
    yield Shard.of(
        "index",
        {
            "runs": per_run,
            "tasks": [task.name for task in aligned],
            "rows": {**rows, "pictures": shown},
            "categories": list(known),
            "shard": SHARD,
            "without": pictures.left_out,
        },
    )


def _pictures(pictures: Pictures, wanted: Sequence[Wanted], shown: list[list[int]]) -> Iterator[Shard]:
    """The thumbnails; which of them a row has is written into `shown`."""
    held: list[str] = []
    number = 0
    for each in counted(pictures.thumbnails(wanted)):
        shown[each.row] = each.numbers
        held += each.new
        while len(held) >= SHARD:
            yield Shard.of_pictures(number, held[:SHARD])
            del held[:SHARD]
            number += 1
    if held:
        yield Shard.of_pictures(number, held)


def category_key(task: LoadedTask) -> str:
    """The metadata field by whose values samples are grouped: the first that the task's scores are broken down by."""
    return task.by[0] if task.by else ""


_TEXTS = ("question", "choices", "answers", "prediction", "reasoning", "error", "worker")


def _texts(task: LoadedTask) -> Mapping[str, Sequence[Any]]:
    table: pa.Table | None = None if task.texts is None else task.texts()
    blank = [None] * len(task.rows)
    names = () if table is None else table.column_names
    found: dict[str, Sequence[Any]] = {
        name: table[name].to_pylist() if table is not None and name in names else blank for name in _TEXTS
    }
    found["variants"] = _variants(table, blank)
    return found


def _variants(table: pa.Table | None, blank: Sequence[None]) -> Sequence[object]:
    """By further scoring variants: name, first score, what was read."""
    names = [] if table is None else [name[7:-1] for name in table.column_names if name.startswith("scores[")]
    if table is None or not names:
        return blank
    scores = {name: table[f"scores[{name}]"].to_pylist() for name in names}
    read = {name: table[f"extracted[{name}]"].to_pylist() for name in names}
    return [
        [(name, next(iter((scores[name][row] or {}).values()), None), read[name][row]) for name in names]
        for row in range(len(table))
    ]


def _light(task: LoadedTask, run: dict[str, object]) -> dict[str, Sequence[object]]:
    """Add to a run's columns in the index; returns those that the details need too."""
    rows = task.rows
    scores = [None if score != score else score for score in score_array(task).tolist()]
    extracted = rows["extracted"].to_pylist()
    finish = rows["finish_reason"].to_pylist()
    unfinished = rows["unfinished"].to_pylist()
    reads = any(each is not None for each in extracted)
    flags = [
        (UNREADABLE if reads and read is None and score is not None else 0)
        | (ERROR if score is None else 0)
        | (UNFINISHED if open_thought else 0)
        | (CUT_OFF if reason == "length" else 0)
        for read, score, open_thought, reason in zip(extracted, scores, unfinished, finish, strict=True)
    ]
    for name, values in (
        ("score", scores),
        ("extracted", [None if each is None else valid_text(each)[:_SEARCHED] for each in extracted]),
        ("flags", flags),
        ("error", rows["error_kind"].to_pylist()),
    ):
        held = run[name]
        assert isinstance(held, list)
        held.extend(values)
    return {
        "right": [score is not None and score >= 1 for score in scores],
        "tokens": rows["tokens"].to_pylist(),
        "seconds": rows["seconds"].to_pylist(),
        "finish": finish,
    }


def _detail(
    texts: Mapping[str, Sequence[object]], columns: Mapping[str, Sequence[object]], row: int
) -> dict[str, object]:
    return {
        "answer": texts["prediction"][row],
        "reasoning": texts["reasoning"][row],
        "error": texts["error"][row],
        "worker": texts["worker"][row],
        "variants": texts["variants"][row] or [],
        "tokens": columns["tokens"][row],
        "seconds": columns["seconds"][row],
        "finish": columns["finish"][row],
    }
