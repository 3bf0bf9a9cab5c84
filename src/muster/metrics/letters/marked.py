"""The readers of single benchmarks that look for a letter in the places where their authors expect one.

Sources: THUDM/LVBench (answer_util.py), JUNJIE99/MLVU (choice_bench.py), MME-RealWorld (eval_your_results.py) and
lmms-eval's tasks of V*, EmbSpatial-Bench, MotionBench and MME-RealWorld.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_VSTAR = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^([A-D])\s*[\.)\]]*",
        r"(?:THE\s+)?(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*(?:\.|\)|])",
        r"(?:^|\s)([A-D])(?:\s|$)",
    )
)
_LEADING = re.compile(r"[\(\s]*([A-Z])[\)\.\s]*", re.IGNORECASE)
_MOTIONBENCH = tuple(map(re.compile, (r"\b([A-F])\b", r"([A-F])[.):]", r"([A-F])")))
_MOTIONBENCH_PHRASES = (
    "THE BEST ANSWER IS",
    "THE CORRECT ANSWER IS",
    "THE ANSWER IS",
    "BEST ANSWER:",
    "ANSWER:",
)
_REALWORLD_COMMON = ("The best answer is", "The correct answer is", "The answer is", "The answer")
_REALWORLD_OFFICIAL = (
    *_REALWORLD_COMMON,
    "The best option isThe correct option is",  # sic: two commas are missing
    "Best answer:Best option:",
)
_REALWORLD_LMMS_EVAL = (
    *_REALWORLD_COMMON,
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)
_REALWORLD_LETTER = re.compile("[ABCDE]")
_MANY_WORDS = 10


def lvbench(text: str, _options: Mapping[str, str]) -> str:
    """The first character of the first word after a bracket, before its end: `b` of "(b) blue"."""
    text = text.strip().split(")")[0].strip()
    if "(" in text:
        text = text.split("(")[1].strip()
    return text.split(" ")[0][:1]


def mlvu(text: str, _options: Mapping[str, str]) -> str:
    """The character before the first closing bracket (nothing, where the bracket comes first); else all of it."""
    if ")" not in text:
        return text
    place = text.index(")")
    return text[place - 1 : place]


def vstar(text: str, _options: Mapping[str, str]) -> str | None:
    """A to D at the start of the answer, a word's beginning included; else stated, in brackets, marked or alone."""
    text = text.strip().upper()
    found = next(filter(None, (pattern.search(text) for pattern in _VSTAR)), None)
    if found:
        return found.group(1).upper()
    letters = re.findall("[A-D]", text)
    return letters[0] if len(letters) == 1 else None


def leading(text: str, _options: Mapping[str, str]) -> str | None:
    """The first letter of the answer after brackets and blanks, whatever it begins."""
    found = _LEADING.match(text.strip())
    return found.group(1).upper() if found else None


def motionbench(text: str, _options: Mapping[str, str]) -> str | None:
    """A to F alone, else before a mark, else anywhere; after thoughts and without a few phrases, in any case."""
    text = text.split("</think>")[-1].strip().upper()
    for phrase in _MOTIONBENCH_PHRASES:
        text = text.replace(phrase, "")
    found = next(filter(None, (pattern.search(text) for pattern in _MOTIONBENCH)), None)
    return found.group(1) if found else None


def mme_realworld_official(text: str, options: Mapping[str, str]) -> str:
    """See `_mme_realworld`."""
    return _mme_realworld(text, options.values(), _REALWORLD_OFFICIAL)


def mme_realworld_lmms_eval(text: str, _options: Mapping[str, str]) -> str:
    """See `_mme_realworld`; the options are compared without their texts."""
    return _mme_realworld(text, [f"({letter})" for letter in "ABCDE"], _REALWORLD_LMMS_EVAL)


def _mme_realworld(text: str, options: Iterable[str], phrases: Sequence[str]) -> str:
    """The first of A to E anywhere; without one, the first option that contains the answer (A of an empty one)."""
    text = text.strip()
    for phrase in phrases:
        text = text.replace(phrase, "")
    found = _REALWORLD_LETTER.search(text)
    if found:
        return found.group()
    if len(text.split()) > _MANY_WORDS:
        return ""
    return next((option[1:2] for option in options if text.lower() in option.lower()), "")
