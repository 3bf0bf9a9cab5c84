"""Patterns from a beginning to its end, in linear time also where the end never comes.

Each beginning would be followed to the end of the text: a model in a loop writes thousands of them.
"""

from __future__ import annotations

import re


def up_to_last(text: str, end: str) -> str:
    """The part that ends with the last `end`; empty without one. What begins behind it never ends."""
    return text[: text.rfind(end) + len(end)] if end in text else ""


def substitute(pattern: re.Pattern[str], by: str, text: str, end: str) -> str:
    """`pattern.sub(by, text)` for a pattern whose matches all end with `end`."""
    closed = up_to_last(text, end)
    return pattern.sub(by, closed) + text[len(closed) :] if closed else text
