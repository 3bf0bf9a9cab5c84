"""MVBench's answers as lmms-eval reads them (`mcq_acc` in its task mvbench)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LABELLED = re.compile(r"([A-E])\.\s*(.+)$", re.IGNORECASE)
_LETTER = re.compile(r"\b([A-E])\b", re.IGNORECASE)
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
MOST_PERIODS = 32
"""The original hands a flag (`re.UNICODE`, 32) to `sub` where the count goes."""


def read_mvbench(text: str, _options: Mapping[str, str]) -> str:
    """The letter of `B. text`; else the first word that is one of A to E, an article too; else the text."""
    labelled = _LABELLED.match(text.strip())
    if labelled:
        return labelled.group(1).upper()
    plain = _without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    for quote in "'\")(":
        plain = plain.strip(quote)
    plain = plain.strip().lower()
    found = _LETTER.search(plain)
    return found.group(1).upper() if found else plain


def _without_punctuation(text: str) -> str:
    """Marks beside a space vanish, others become spaces, as in the VQA evaluation."""
    result = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text)
        result = result.replace(mark, "" if beside_space else " ")
    return _PERIOD.sub("", result, count=MOST_PERIODS)
