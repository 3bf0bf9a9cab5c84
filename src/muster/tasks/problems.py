"""What is wrong with a user's file: every problem in one message, so that one round of fixing is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from muster.core import ConfigurationError

SHOWN = 20
"""Problems listed in full; a file with more has one cause, and a longer list would hide it."""


class Problem(NamedTuple):
    """Something that is wrong, and where."""

    place: str
    """`my.jsonl:7`"""
    message: str
    of_the_task: bool = False
    """Whether the cause is in the task file, so that it is one problem wherever it shows."""


def listed_problems(problems: Sequence[Problem]) -> list[str]:
    """A line for each problem; one that the task file has is told at its first place, with the number of others."""
    places: dict[Problem, list[str]] = {}
    for problem in problems:
        cause = problem._replace(place="") if problem.of_the_task else problem
        places.setdefault(cause, []).append(problem.place)
    lines = []
    for cause, where in places.items():
        others = (
            f" (and {len(where) - 1} more like it, the last at {where[-1]})"
            if cause.of_the_task and where[1:]
            else ""
        )
        lines.append(f"{where[0]}: {cause.message}{others}")
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"… and {more} more problems of this kind"] if more > 0 else lines


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one `ConfigurationError` that lists `problems`; nothing where there are none."""
    if problems:
        raise ConfigurationError("\n".join(listed_problems(problems)))


def shown(value: object) -> str:
    """A value as messages quote it: as written in Python, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"
