"""Questions in rounds: after each answer the task's own code says what is asked next, or that it was the last.

Unlike the turns of a dialogue, which the data has, rounds are not known before the answers are. A sample stays one
sample, with one score: its answer is the list of what was answered in its rounds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, TypeAlias

from muster.core import Message, RequestKey


class Ended(NamedTuple):
    """There is no further round."""

    answers: Sequence[str | None]
    """What the sample is scored by: usually what was answered, round by round."""


NextRound: TypeAlias = "tuple[Message, ...] | Ended"


class Rounds(Protocol):
    """The code of a task whose later questions depend on the answers to the earlier ones."""

    def next(self, sample_id: str, repeat: int, answers: Sequence[str]) -> NextRound:
        """The whole conversation of the next round, or the end, after these answers (at least one).

        Called from one thread at a time, not the main one, while other requests are answered. A run that goes on calls
        it with the answers that were kept. What it raises is the sample's failure.
        """
        ...


def round_key(key: RequestKey, number: int) -> RequestKey:
    """The name of one round's request, from 1, of the sample that `key` names."""
    return RequestKey(key.task, f"{key.sample_id}:{number}", key.repeat)


def joined(answers: Sequence[str | None]) -> str:
    """The answers of all rounds as one text: a list in JSON."""
    return json.dumps(list(answers), ensure_ascii=False)


def divided(text: str) -> list[str | None]:
    """The answers of all rounds again; a text that `joined` didn't make is the answer of a single one."""
    with suppress(ValueError):
        answers = json.loads(text)
        if isinstance(answers, list) and all(each is None or isinstance(each, str) for each in answers):
            return answers
    return [text]
