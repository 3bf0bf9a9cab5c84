"""MVBench's answers as InternVL and VLMEvalKit compare them: the first word with the right letter in brackets."""

from __future__ import annotations

from collections.abc import Mapping

from muster.metrics.letters.vlmevalkit import infer_letter

_FAILED = "Failed to obtain answer via API."


def first_word(text: str, _options: Mapping[str, str]) -> str:
    """What is compared, in small letters."""
    return text.replace("Answer: ", "").lower().strip().split(" ")[0]


def internvl_accepts(text: str, letter: str, _options: Mapping[str, str]) -> bool:
    """Whether the first word is part of `(b)` or has it; so nothing at all, or a period, is always right (sic)."""
    return _first_word_fits(text.replace("Answer: ", "").lower(), letter)


def vlmevalkit_accepts(text: str, letter: str, options: Mapping[str, str]) -> bool:
    """The same, or what `infer_letter` finds. A failure's text is scored -1, which its mean takes for right (sic)."""
    if _FAILED in text or _first_word_fits(text.lower().strip(), letter):
        return True
    return infer_letter(text, options) == letter


def _first_word_fits(text: str, letter: str) -> bool:
    word, right = text.split(" ")[0], f"({letter.lower()})"
    return word.replace(".", "") in right or right in word
