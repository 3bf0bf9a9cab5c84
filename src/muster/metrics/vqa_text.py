"""Text normalisation of the VQA evaluation code (Antol et al. 2015) and its descendants.

Every oddity is the references' own: which punctuation becomes a blank depends on the text before any was removed,
and only the first 32 periods go, because `re.UNICODE` is passed where `re.sub` takes a count.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from muster.metrics.reference_data import vqa_contractions

Normaliser = Callable[[str], str]

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_ARTICLES = frozenset(("a", "an", "the"))
_COMMAS_IN_NUMBER = re.compile(r"\d,+\d")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_PERIOD_WITHOUT_DIGITS = re.compile(r"(?<!\d)\.(?!\d)")
_PERIODS_REMOVED = 32


def evalai(text: str) -> str:
    """The TextVQA normaliser of EvalAI, as lmms-eval and InternVL have it."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return lmms_eval_vqav2(text)


def lmms_eval_vqav2(text: str) -> str:
    """lmms-eval's VQAv2 steps: blanks, punctuation, periods, number words and articles."""
    text = _punctuation(_blanks(text), _COMMAS_IN_NUMBER)
    return _words(_PERIOD.sub("", text, count=_PERIODS_REMOVED))


def vlmevalkit(text: str) -> str:
    """VLMEvalKit's `process_answer`: "2." keeps its period."""
    return _words(vlmevalkit_punctuation(_blanks(text)))


def vlmevalkit_punctuation(text: str) -> str:
    """VLMEvalKit's `process_punctuation`, which its yes/no reader uses too."""
    text = _punctuation(text, _COMMA_IN_NUMBER)
    return _PERIOD_WITHOUT_DIGITS.sub("", text, count=_PERIODS_REMOVED)


def _blanks(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _punctuation(text: str, number_with_comma: re.Pattern[str]) -> str:
    numeric = number_with_comma.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        if mark in result:
            glued = not (numeric or f"{mark} " in text or f" {mark}" in text)
            result = result.replace(mark, " " if glued else "")
    return result


def _words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    contractions = vqa_contractions()
    return " ".join(contractions.get(word, word) for word in words if word not in _ARTICLES)
