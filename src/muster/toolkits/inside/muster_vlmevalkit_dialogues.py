"""VLMEvalKit's datasets of several turns (`TYPE = "MT"`): a row is a dialogue, each of whose turns is asked by itself.

A turn is known as `ROW:NUMBER`, from 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muster_toolkit_media import MediaWriter


def is_dialogue(dataset: Any) -> bool:
    """Whether rows are dialogues."""
    return str(getattr(dataset, "TYPE", "")) == "MT"


def row_of(dataset: Any, name: str) -> str:
    """The row of a turn, or of a question of its own."""
    return (name.rpartition(":")[0] or name) if is_dialogue(dataset) else name


def turns(
    dataset: Any, row: str, line: Any, media: MediaWriter
) -> Iterator[tuple[dict[str, Any], Sequence[bytes]]]:
    """The turns of a row: what each adds, its reference answer, and the bytes of its pictures."""
    talk = dataset.build_prompt(line)
    for number, place in enumerate(range(0, len(talk), 2), 1):
        question, answer = talk[place], talk[place + 1]
        said = "".join(str(piece["value"]) for piece in answer["content"])
        turn = {
            "id": f"{row}:{number}",
            "previous": f"{row}:{number - 1}" if number > 1 else "",
            "messages": [{"role": question["role"], "parts": parts(question["content"], media)}],
            "references": [said] if said else [],
            "cells": {"row": row, "turn": number},
        }
        yield turn, media.take()


def parts(pieces: Sequence[Mapping[str, Any]], media: MediaWriter) -> list[dict[str, Any]]:
    """The pieces of a message as VLMEvalKit has them, as Muster has them."""
    found: list[dict[str, Any]] = []
    for piece in pieces:
        value = piece["value"]
        if piece["type"] == "text":
            found.append({"text": str(value)})
            continue
        if piece["type"] == "image" and (content := file_content(value)) is not None:
            value = content
        found += [{"media": each} for each in media.media(value, piece["type"])]
    return found


def file_content(value: Any) -> bytes | None:
    """The bytes of a file that is named; None for what names none."""
    try:
        with open(str(value), "rb") as stream:  # noqa: PTH123
            return stream.read()
    except OSError:
        return None


def predictions(dataset: Any, texts: Mapping[str, str]) -> tuple[dict[str, list[str]], set[str]]:
    """The answers of each row whose turns have all been answered, and the rows of which some haven't."""
    by_row: dict[str, dict[int, str]] = {}
    for name, text in texts.items():
        row, _colon, number = name.rpartition(":")
        by_row.setdefault(row, {})[int(number)] = text
    whole: dict[str, list[str]] = {}
    for row, line in zip(map(str, dataset.data["index"]), dataset.data["question"], strict=True):
        answers = by_row.get(row)
        if answers is not None and len(answers) == _length(line):
            whole[row] = [answers[number] for number in sorted(answers)]
    return whole, set(by_row) - set(whole)


def _length(questions: Any) -> int:
    from vlmeval.smp import toliststr

    return len(toliststr(questions))
