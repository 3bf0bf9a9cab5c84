"""Text from models, files, servers and exceptions: what no encoding can carry, and what no terminal may be sent."""

from __future__ import annotations

import re
from collections.abc import Collection

_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f"  # control characters, but for tab and newline
    "\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069"  # which turn the direction of what follows
    "\\u2028\\u2029\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff"
    "\\U000e0000-\\U000e007f"  # invisible copies of ASCII
    "\\ud800-\\udfff]"  # halves of characters
)


def valid_text(text: str) -> str:
    """`text` as UTF-8 can hold it: surrogate pairs joined, lone surrogates replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def printable(text: str) -> str:
    """`text` as it may be shown on a terminal: whatever moves the cursor, hides or turns text is written as an escape.

    Everything that others have said goes through this before it is shown. Newlines and tabs stay.
    """
    return _UNPRINTABLE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`; did you mean 'x'?` for the nearest known words, or an empty string."""
    from difflib import get_close_matches  # only for what has gone wrong

    near = get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
