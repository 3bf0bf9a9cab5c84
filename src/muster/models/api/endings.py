"""How a generation ended: with an answer, withheld by the provider, or broken off. One rule for all APIs.

Only an answer may be scored. What a filter withheld is the sample's: asking again would cost and change nothing. What
broke off is the moment's: it is asked again.
"""

from __future__ import annotations

import re
from typing import Literal

from muster.models.api.failures import UnavailableError, WithheldError, shown

Ending = Literal["answer", "withheld", "broken"]

_ANSWERS = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "eos", "eos_token"), "stop"),
    **dict.fromkeys(
        (
            "length",
            "max_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "max_new_tokens",
            "model_length",
            "model_context_window_exceeded",
        ),
        "length",
    ),
}
"""The words of several APIs (in small letters) for the two ways in which an answer ends."""
_WITHHELD = re.compile(
    r"filter|safety|sensitive|block|recitation|prohibited|spii|refus|moderat|guardrail|model_armor|jailbreak|language|"
    r"escalation"
)
_BROKEN = re.compile(
    r"error|abort|cancel|fail|timeout|timed_out|overload|insufficient|interrupt|unavailable|network|disconnect|pause|"
    r"malformed|unexpected|unspecified|other|too_many|missing|continuation|disabled|incomplete|in_progress|no_image"
)


def ending(reason: str | None, *, said: bool) -> Ending:
    """What a reason stands for. `said`: there is a text or a thought.

    A word that nobody knows, or none at all, is an answer's only where there is one.
    """
    word = (reason or "").lower()
    if word in _ANSWERS:
        return "answer"
    if _WITHHELD.search(word):
        return "withheld"
    if _BROKEN.search(word):
        return "broken"
    return "answer" if said or word else "broken"


def check_ending(reason: str | None, endpoint: str, *, said: bool, words: str = "") -> str | None:
    """The `finish_reason` of an answer: `stop`, `length`, or the API's own word.

    `words`: what the server says about it.

    Raises:
        WithheldError: the provider withheld it.
        UnavailableError: it broke off.
    """
    what = ending(reason, said=said)
    because = ": ".join(filter(None, (reason or "no reason given", shown(words))))
    if what == "withheld":
        raise WithheldError(f"{endpoint} withheld the answer ({because})")
    if what == "broken":
        raise UnavailableError(f"{endpoint} broke the answer off ({because})")
    return _ANSWERS.get((reason or "").lower(), reason)
