"""What servers say again and again: told, and where nothing was ever answered, the configuration's fault."""

from __future__ import annotations

import logging
import re
from collections import Counter

from muster.core import ConfigurationError

log = logging.getLogger(__name__)

TOLD_AFTER = 5
"""Failures with the same words, after which they are told."""
FIRST = 5
"""Refusals with the same words, and no answer before them, that end the run."""
_CHANGING = re.compile(r"\w*\d\w*(?:[-.:]\w+)*")
"""Parts of an error message that differ from request to request: numbers, ids, times."""
_OF_THE_SAMPLE = re.compile(
    r"context[ _]length|context window|too (?:long|large|many|big)|exceed|at most|"
    r"content[ _](?:filter|management|policy)|"
    r"safety|moderat|flagged|could not process|invalid image|decod",
    re.IGNORECASE,
)


def alike(words: str) -> str:
    """The words without what differs from request to request."""
    return _CHANGING.sub("#", words)


class Repeated:
    """Counts failures by their words."""

    def __init__(self, *, answered: bool) -> None:
        """`answered`: the servers are known to work: the run has answers from earlier."""
        self._answered = answered
        self._failures: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._last = ""

    def answer(self) -> None:
        """A request was answered."""
        self._answered = True

    def failure(self, words: str) -> None:
        """An attempt got no answer; with the same words for the fifth time it is told."""
        key = alike(words)
        self._failures[key] += 1
        if self._failures[key] == TOLD_AFTER:
            log.warning("failed %d times with the same words: %s", TOLD_AFTER, words)

    def refusal(self, words: str) -> None:
        """A request was refused for what it is. Raises `ConfigurationError` where all are, and in the same words."""
        self.failure(words)
        self._last = words
        self._refusals[alike(words)] += 1
        if self._refusals.total() >= FIRST:
            self.check()

    def check(self) -> None:
        """Raise `ConfigurationError` where several were refused in the same words and nothing was answered."""
        count = self._refusals.total()
        if self._answered or count < 2 or len(self._refusals) > 1 or _OF_THE_SAMPLE.search(self._last):
            return
        raise ConfigurationError(
            f"the first {count} requests were refused in the same words, and none was answered, so it is about the "
            f"settings and not about the samples: {self._last.rstrip('.')}. Look at --model (the name by which the "
            "server knows it) and at --model-args"
        )
