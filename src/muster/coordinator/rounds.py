"""Samples that are asked in rounds: what has been answered, and what the task's own code says comes next.

The code is asked in a thread of its own, while the queue goes on: it may take long, or search the web. Each round's
answer is journalled as it comes, in a file of its own; the run's journal gets one answer per sample, of all rounds.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from muster.core import Completion, Failure, Message, Request, RequestKey, Usage
from muster.core.encoded import Encoded
from muster.core.text import valid_text
from muster.results.journal_read import JournalReader
from muster.tasks.plan import PlannedTask
from muster.tasks.rounds import Ended, joined, round_key

log = logging.getLogger(__name__)

_Number = TypeVar("_Number", int, float)
MOST_ROUNDS = 100
"""Of one sample: code that never ends would ask for ever."""


def kept_rounds(journal: JournalReader, key: RequestKey) -> list[Completion]:
    """What an earlier attempt was answered in the rounds of the sample that `key` names, in their order."""
    answers: list[Completion] = []
    while (record := journal.get(round_key(key, len(answers) + 1))) is not None:
        answers.append(record.completion)
    return answers


class Said(NamedTuple):
    """What the code of a task says after a round."""

    request: int
    """The index of the sample's request."""
    next: tuple[Message, ...] | Completion
    """The next round's conversation; or the sample's answer, of all rounds, or its failure."""


@dataclass(slots=True)
class _Talk:
    """One sample in its rounds."""

    planned: PlannedTask
    key: RequestKey
    """Of the sample."""
    answers: list[Completion] = field(default_factory=list)
    messages: tuple[Message, ...] = ()
    """Of the round that is to be answered; empty for the first one, which is in the plan."""
    over: bool = False

    def failed(self, message: str) -> Completion:
        said = f"round {len(self.answers) + 1}: {valid_text(message)}"
        return Completion(self.key, failure=Failure("sample", "RoundFailed", said))

    def ended(self, answers: Sequence[str | None]) -> Completion:
        """The answer to the sample, with what its rounds took together."""
        usages = [each.usage for each in self.answers]
        thoughts = [each.reasoning for each in self.answers if each.reasoning]
        notes = list(dict.fromkeys(each.note for each in self.answers if each.note))
        return Completion(
            self.key,
            valid_text(joined(answers)),
            usage=Usage(
                _sum([each.prompt_tokens for each in usages]),
                _sum([each.completion_tokens for each in usages]),
            ),
            seconds=_sum([each.seconds for each in self.answers]),
            finish_reason=self.answers[-1].finish_reason,
            note="; ".join(notes) or None,
            reasoning="\n\n".join(thoughts) or None,
        )


class RoundsInProgress:
    """All samples that are being asked in rounds, by the index of their request."""

    def __init__(self) -> None:
        self._announce: Callable[[], object] = lambda: None
        self._talks: dict[int, _Talk] = {}
        self._begun: list[int] = []
        self._ask: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._asking: set[int] = set()
        self._thread: threading.Thread | None = None

    def __contains__(self, index: int) -> bool:
        return index in self._talks and not self._talks[index].over

    @property
    def waiting(self) -> bool:
        """Whether the code of a task has yet to say what comes next."""
        return bool(self._asking)

    def announce_by(self, announce: Callable[[], object]) -> None:
        """`announce` is called now, and from another thread whenever there is something in `said`."""
        self._announce = announce
        announce()

    def add(self, index: int, planned: PlannedTask, key: RequestKey, answers: Sequence[Completion]) -> None:
        """A sample that is asked in rounds, with what an earlier attempt was answered."""
        self._talks[index] = _Talk(planned, key, list(answers))
        if answers:
            self._begun.append(index)

    def begun(self) -> list[int]:
        """Those that an earlier attempt has begun, once: they are to be set aside and gone on with."""
        begun, self._begun = self._begun, []
        return begun

    def key(self, index: int) -> RequestKey:
        """The name of the round that is to be answered."""
        talk = self._talks[index]
        return round_key(talk.key, len(talk.answers) + 1)

    def is_earlier(self, index: int, key: RequestKey) -> bool:
        """Whether `key` names a round of this sample that needs no answer any more."""
        talk = self._talks.get(index)
        if talk is None:
            return False
        return any(round_key(talk.key, n + 1) == key for n in range(len(talk.answers) + talk.over))

    def request(self, index: int) -> Request | None:
        """The request for a later round; None for the first one."""
        talk = self._talks[index]
        return talk.planned.later_round(self.key(index), talk.messages) if talk.messages else None

    def answered(self, index: int, completion: Completion) -> None:
        """Note a round's answer, and ask the task's code what comes next."""
        talk = self._talks[index]
        talk.answers.append(completion)
        talk.messages = ()
        self.go_on(index)

    def broken_off(self, index: int, completion: Completion) -> Encoded:
        """The failure of a round, as that of its sample, which is asked no more."""
        talk = self._talks[index]
        talk.over = True
        if completion.failure is None or not talk.answers:
            return Encoded.of(replace(completion, key=talk.key))
        message = f"round {len(talk.answers) + 1}: {completion.failure.message}"
        failure = replace(completion.failure, message=message)
        return Encoded.of(replace(completion, key=talk.key, failure=failure))

    def go_on(self, index: int) -> None:
        """Ask the task's code what comes next."""
        self._asking.add(index)
        self._ask.put(index)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="muster-rounds", daemon=True)
            self._thread.start()

    def said(self) -> Iterator[Said]:
        """What the code has said since the last call; what comes next is noted."""
        while True:
            try:
                said = self._said.get_nowait()
            except queue.Empty:
                return
            self._asking.discard(said.request)
            talk = self._talks[said.request]
            if isinstance(said.next, Completion):
                talk.over = True
            else:
                talk.messages = said.next
            yield said

    def _work(self) -> None:
        while True:
            index = self._ask.get()
            talk = self._talks[index]
            try:
                self._said.put(Said(index, _next(talk)))
            except Exception as error:  # noqa: BLE001 - the task's code; recorded on the sample
                log.warning(
                    "%s: what comes after round %d can't be told: %s", talk.key, len(talk.answers), error
                )
                self._said.put(Said(index, talk.failed(str(error) or type(error).__name__)))
            self._announce()


def _next(talk: _Talk) -> tuple[Message, ...] | Completion:
    rounds = talk.planned.task.rounds
    assert rounds is not None, "only such samples are here"
    if len(talk.answers) >= MOST_ROUNDS:
        return talk.failed(f"the task's code asks for more than {MOST_ROUNDS} rounds")
    said = rounds.next(talk.key.sample_id, talk.key.repeat, [each.text or "" for each in talk.answers])
    return talk.ended(said.answers) if isinstance(said, Ended) else said


def _sum(values: Sequence[_Number | None]) -> _Number | None:
    """None where one isn't known."""
    known = [each for each in values if each is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None
