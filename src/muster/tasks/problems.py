"""What is wrong with a user's file: every problem in one message, so that one round of fixing is enough."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from muster.core import ConfigurationError

SHOWN = 20
"""Problems listed in full; a file with more has one cause, and a longer list would hide it."""


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one `ConfigurationError` that lists `problems`; nothing where there are none."""
    if not problems:
        return
    lines = list(problems[:SHOWN])
    if len(problems) > SHOWN:
        lines.append(f"… and {len(problems) - SHOWN} more problems of this kind")
    raise ConfigurationError("\n".join(lines))


def shown(value: object) -> str:
    """A value as messages quote it: as written in Python, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` for the nearest known words, or an empty string."""
    near = get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
