"""VLMEvalKit's `can_infer` (without a judge): a letter among the last words, "answer is X", or option text."""

from __future__ import annotations

import re
from collections.abc import Mapping

NO_OPTION = "Z"
"""What VLMEvalKit calls an answer that refuses."""

API_FAILURE = "Failed to obtain answer via API"
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
TO_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"answer\s+is\s+\**([ABCD])", re.IGNORECASE)  # sic: no word boundary


def infer_letter(text: str, options: Mapping[str, str]) -> str | None:
    """The option letter, `Z` for a refusal, None where the toolkit would ask a judge."""
    return _from_letters(text, options) or infer_from_text(text, options)


def _from_letters(text: str, options: Mapping[str, str]) -> str | None:
    if API_FAILURE in text:
        return None
    if any(refusal in text for refusal in REFUSALS):
        return NO_OPTION
    words = text.translate(TO_BLANKS).split()
    present = [letter for letter in options if letter in words]
    if len(present) == 1 and words.index(present[0]) > len(words) - 5:
        return present[0]
    if not present and NO_OPTION in words:
        return NO_OPTION
    stated = _ANSWER_IS.search(text)
    if stated and stated.group(1).upper() in options:
        return stated.group(1).upper()
    return None


def infer_from_text(text: str, options: Mapping[str, str]) -> str | None:
    """The only option whose text occurs in `text`, ignoring case; None when `text` is much longer than they."""
    lowered = text.lower()
    if len(lowered) > 2 * sum(len(option) for option in options.values()):
        return None
    found = [letter for letter, option in options.items() if option.lower() in lowered]
    return found[0] if len(found) == 1 else None
