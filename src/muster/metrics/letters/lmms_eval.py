"""lmms-eval's `extract_mcq_answer` (MMStar, RealWorldQA, Video-MME, MMBench): A to D, or all options' (Video-MMMU).

It prefers to find something: "Cannot tell" reads as C and "A cat" as A. Reproduced, not recommended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from muster.metrics.reference_data import answer_phrases

LETTERS = "ABCD"
_STRIPPED = ",.!?;:'\""
_SHAPES = (("({})", 6), ("{}.", 5), ("{}:", 4), ("{})", 3), ("{} ", 2))
_PHRASE, _END, _START, _ANYWHERE = 7, 9, 10, 0


class _Candidate(NamedTuple):
    priority: int
    position: int
    letter: str


def extract_option(text: str, options: Mapping[str, str]) -> str | None:
    """See `extract_letter`; one of the options' letters, however many there are."""
    return extract_letter(text, letters="".join(options))


def extract_letter(
    text: str, _options: Mapping[str, str] | None = None, letters: str = LETTERS
) -> str | None:
    """The letter of highest priority, the later one where priorities are equal; None for blank or no letter."""
    text = text.strip()
    if not text:
        return None
    for char in _STRIPPED:
        text = text.strip(char)
    padded = f" {text} "
    candidates = [*_shaped(padded, letters), *_after_phrases(padded, letters), *_at_the_ends(padded, letters)]
    if not candidates:
        candidates = [
            _Candidate(_ANYWHERE, padded.rfind(letter), letter) for letter in letters if letter in padded
        ]
    if not candidates:
        return None
    return max(candidates, key=lambda candidate: candidate[:2]).letter  # max keeps the first of equals


def _shaped(padded: str, letters: str) -> Iterator[_Candidate]:
    for shape, priority in _SHAPES:
        for letter in letters:
            position = padded.rfind(shape.format(letter))
            if position >= 0:
                yield _Candidate(priority, position, letter)


def _after_phrases(padded: str, letters: str) -> Iterator[_Candidate]:
    lowered = padded.lower()
    for phrase in answer_phrases():
        start = lowered.find(phrase)
        if start < 0:
            continue
        for letter in letters:
            position = padded.find(letter, start + len(phrase))
            if position >= 0:
                yield _Candidate(_PHRASE, position, letter)


def _at_the_ends(padded: str, letters: str) -> Iterator[_Candidate]:
    text = padded.strip()
    if not text:
        return
    if text[0] in letters and not text[1:2].isalpha():
        yield _Candidate(_START, 0, text[0])
    if text[-1] in letters and not text[-2:-1].isalpha():
        yield _Candidate(_END, len(padded) - 1, text[-1])
