"""Rows that hold a dialogue: each item of a list is a turn, and a sample that continues the one before."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from muster.core.text import did_you_mean
from muster.tasks.problems import shown
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_reader import FieldProblem
from muster.tasks.yaml_lines import as_mapping

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
"""Who speaks, as LLaVA (`from`, `value`) and OpenAI (`role`, `content`) write it."""


def turns(row: Row, column: str, media: Collection[str]) -> Iterator[Row]:
    """The row's turns: what an item of `column` says comes on top of the row.

    The row's own media (`media`: their columns) belong to the first turn; later ones have what their item gives.
    Items may be objects, with fields of the sample format, or messages that users and assistants speak by turns.
    Raises `FieldProblem` where the column is missing or isn't such a list.
    """
    if column not in row.cells:
        raise FieldProblem("source.turns", f"no column {column!r}{did_you_mean(column, row.cells)}")
    items = _items(column, row.cells[column])
    shared = {name: value for name, value in row.cells.items() if name != column}
    for number, item in enumerate(items):
        cells = {**shared, **item}
        yield replace(row, cells=cells, part=number, place=f"{row.place}, turn {number + 1}")
        shared = {name: value for name, value in shared.items() if name not in media}


def _items(column: str, value: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(value, list) or not value:
        raise FieldProblem(column, f"{shown(value)} is not a list of turns")
    items = [as_mapping(item) for item in value]
    objects = [item for item in items if item is not None]
    if len(objects) < len(items):
        wrong = shown(value[items.index(None)])
        raise FieldProblem(
            column, f"{wrong} is no turn: a turn is an object, such as {{question: …, answer: …}}"
        )
    messages = [_message(item) for item in objects]
    spoken = [message for message in messages if message is not None]
    return _pairs(column, spoken) if len(spoken) == len(objects) else objects


def _message(item: Mapping[str, object]) -> tuple[str, object] | None:
    """Who says what, where the item is a message."""
    for speaker, text in (("from", "value"), ("role", "content")):
        if speaker in item and text in item:
            return _SPEAKERS.get(str(item[speaker]), str(item[speaker])), item[text]
    return None


def _pairs(column: str, messages: Sequence[tuple[str, object]]) -> list[Mapping[str, object]]:
    """Questions with the answers that follow them; the last one may lack its answer."""
    pairs: list[Mapping[str, object]] = []
    for place, (speaker, text) in enumerate(messages):
        expected = "assistant" if place % 2 else "user"
        if speaker != expected:
            raise FieldProblem(
                column, f"message {place + 1} is the {speaker}'s where the {expected}'s is expected"
            )
        if expected == "user":
            pairs.append({"question": text})
        else:
            pairs[-1] = {**pairs[-1], "answer": text}
    return pairs
