"""HR-Bench in lmms-eval: a letter among the words, else the only option whose text occurs; no judge."""

from __future__ import annotations

from collections.abc import Mapping

_API_FAILURE = "Failed to obtain answer via API"
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_TO_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))


def lmms_eval(text: str, options: Mapping[str, str]) -> str | None:
    """Z for a refusal; None where the toolkit would ask a judge."""
    text = text.strip()
    if _API_FAILURE not in text:
        if any(refusal in text for refusal in _REFUSALS):
            return "Z"
        words = text.translate(_TO_BLANKS).split()
        present = [letter for letter in options if letter in words]
        if len(present) == 1:
            return present[0]
        if not present and "Z" in words:
            return "Z"
    lowered = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lowered]
    return named[0] if len(named) == 1 else None
