"""MMVP's answers as lmms-eval reads them: the letters A and B only."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^\(?([AB])\)?\.?\s*$",
        r"^\(?([AB])\)?[.\s]",
        r"answer\s+is\s+\(?([AB])\)?",
        r"option\s+\(?([AB])\)?",
        r"\(?([AB])\)?(?:\s|$)",
    )
)


def read_mmvp(text: str, _options: Mapping[str, str]) -> str | None:
    """The first pattern that is found; the last of them takes any a or b before a blank, at a word's end too."""
    text = text.strip()
    for pattern in _PATTERNS:
        found = pattern.search(text)
        if found:
            return found.group(1).upper()
    return text[0].upper() if text[:1].upper() in ("A", "B") else None
