"""Tables that the reference implementations carry, shipped as package data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files


def _lines(name: str) -> list[str]:
    text = files("muster.metrics").joinpath("data", name).read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


@cache
def answer_phrases() -> tuple[str, ...]:
    """The 27 phrases after which lmms-eval looks for a letter, in its order."""
    return tuple(_lines("mcq_phrases.txt"))


@cache
def vqa_contractions() -> Mapping[str, str]:
    """The 120 contractions of the VQA evaluation code: `dont` to `don't`."""
    return dict(line.split("\t") for line in _lines("vqa_contractions.tsv"))
