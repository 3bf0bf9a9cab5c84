"""What a tool shows of a video, and how that is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.videos.pictures import MOST_COLOUR_ERROR, Picture, read

SPARSE = 8
"""Frames that are asked for alone, as evaluations do."""
UNREADABLE = -1


@dataclass(slots=True)
class Shown:
    """The frames of a video, by the numbers in their pictures."""

    numbers: list[int] = field(default_factory=list)
    """Of all frames, in order; -1: can't be read."""
    sought: list[int] = field(default_factory=list)
    """Of eight frames that were asked for alone, evenly spread over those that there are said to be."""
    ways: list[str] = field(default_factory=list)
    colour_error: int = 0
    fps: float | None = None
    error: str = ""

    def add(self, pictures: Iterable[Picture], *, sought: bool = False) -> None:
        """Read pictures."""
        for picture in pictures:
            said = read(picture)
            (self.sought if sought else self.numbers).append(UNREADABLE if said is None else said.number)
            if said is not None:
                if said.way not in self.ways:
                    self.ways.append(said.way)
                self.colour_error = max(self.colour_error, said.colour_error)

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


def spread(frames: int) -> list[int]:
    """Eight places from the first to the last of so many frames."""
    return [number * (frames - 1) // (SPARSE - 1) for number in range(SPARSE)]


def told(shown: Shown, expected: Sequence[int]) -> str:
    """One cell of the table: `=` where everything is as it should be."""
    if shown.error:
        return f"fails: {shown.error}"
    parts = []
    if shown.numbers != list(expected):
        parts.append(ranges(shown.numbers))
    if shown.sought and shown.sought != [expected[place] for place in spread(len(expected))]:
        there = [shown.numbers[place] for place in spread(len(shown.numbers))] if shown.numbers else []
        if shown.sought != there:
            parts.append(f"sought: {', '.join(_named(number) for number in shown.sought)}")
    if ways := [way for way in shown.ways if way]:
        parts.append(" and ".join(ways))
    if shown.colour_error > MOST_COLOUR_ERROR:
        parts.append(f"colours off by {shown.colour_error}")
    return "; ".join(parts) or "="


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in words: `0–11, 13, 2×12`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1 and number > 0:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [_named(first) if first == last else f"{first}–{last}" for first, last in runs]
    grouped: list[list[Any]] = []
    for word in words:
        if grouped and grouped[-1][1] == word:
            grouped[-1][0] += 1
        else:
            grouped.append([1, word])
    texts = [word if count == 1 else f"{count}×{word}" for count, word in grouped]
    if len(texts) > 6:
        texts = [*texts[:4], "…", texts[-1]]
    return ", ".join(texts) + f" ({len(numbers)})" if texts else "nothing"


def _named(number: int) -> str:
    return "?" if number == UNREADABLE else str(number)
