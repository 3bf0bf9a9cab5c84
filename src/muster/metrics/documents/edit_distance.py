"""Edit distances of long texts, through RapidFuzz: a page has thousands of characters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from importlib.util import find_spec

from muster.core import MissingExtraError

_NEEDED = ("apted", "bs4", "jieba", "lxml", "nltk", "pylatexenc", "rapidfuzz", "scipy")


def distance(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Levenshtein's, of texts or of lists of whatever can be compared."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(first, second)


def check_documents(what: str) -> None:
    """Raise `MissingExtraError` where the extra `documents` isn't installed."""
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError(what, "documents")
