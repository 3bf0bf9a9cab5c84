"""HR-Bench in lmms-eval: a letter among the words, else the only option whose text occurs; no judge."""

from __future__ import annotations

from collections.abc import Mapping

from muster.metrics.letters.vlmevalkit import API_FAILURE, NO_OPTION, REFUSALS, TO_BLANKS


def lmms_eval(text: str, options: Mapping[str, str]) -> str | None:
    """Z for a refusal; None where the toolkit would ask a judge."""
    text = text.strip()
    if API_FAILURE not in text:
        if any(refusal in text for refusal in REFUSALS):
            return NO_OPTION
        words = text.translate(TO_BLANKS).split()
        present = [letter for letter in options if letter in words]
        if len(present) == 1:
            return present[0]
        if not present and NO_OPTION in words:
            return NO_OPTION
    lowered = text.lower()
    named = [letter for letter, option in options.items() if option.lower() in lowered]
    return named[0] if len(named) == 1 else None
