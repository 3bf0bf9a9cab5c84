"""VLMEvalKit's step for MMMU-Pro's chain-of-thought data sets: the last line that begins with "Answer:"."""

from __future__ import annotations

import string
from collections.abc import Mapping

from muster.metrics.letters.vlmevalkit import infer_letter

_BEGINS = "Answer:"


def infer_after_thought(text: str, options: Mapping[str, str]) -> str | None:
    """`infer_letter` of what stands after the last such line's "Answer:", or of its only capital; else of all of it."""
    return infer_letter(stated_last(text), options)


def stated_last(text: str) -> str:
    """The only capital of the last such line (`Answer: $B$` is B), else that line's rest; or else the whole text."""
    lines = [line for part in text.strip().split("\n") if (line := part.strip()).startswith(_BEGINS)]
    if not lines:
        return text
    rest = lines[-1].removeprefix(_BEGINS)
    capitals = {char for char in rest if char in string.ascii_uppercase}
    return capitals.pop() if len(capitals) == 1 else rest
