"""What a worker has to send: answers until they are acknowledged, answers it keeps for the gather, and the rest."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator

from muster.wire.messages import Answers, FromWorker, Pledge, Pull, Ready

_CHUNK_BYTES = 16 << 20


class Outbox:
    """Messages that wait for the sender, and those that must be repeated after a reconnection.

    Not safe for several threads by itself.
    """

    def __init__(self, *, gathering: bool) -> None:
        """`gathering`: answers are kept, and only pledged, until they are collected."""
        self.gathering = gathering
        self._posts: collections.deque[FromWorker] = collections.deque()
        self._answers: list[tuple[int, bytes]] = []
        self._pledges: list[int] = []
        self._kept: dict[int, bytes] = {}
        self._unacknowledged: dict[int, Answers | Pledge] = {}
        self._number = 0

    @property
    def empty(self) -> bool:
        """Nothing waits to be sent."""
        return not (self._posts or self._answers or self._pledges)

    @property
    def settled(self) -> bool:
        """All answers are in the coordinator's hands, apart from those that are kept."""
        return not (self._answers or self._pledges or self._unacknowledged)

    @property
    def kept(self) -> list[tuple[int, bytes]]:
        """The answers that are kept."""
        return list(self._kept.items())

    def post(self, message: FromWorker) -> None:
        """Have a message sent that is no answer."""
        self._posts.append(message)

    def deliver(self, index: int, answer: bytes) -> None:
        """Take an answer, as JSON: to be sent, or kept."""
        if self.gathering:
            self._kept[index] = answer
            self._pledges.append(index)
        else:
            self._answers.append((index, answer))

    def send_answers(self, answers: Iterable[tuple[int, bytes]]) -> None:
        """Have answers sent that were kept, here or elsewhere."""
        self._answers += answers

    def send_kept(self) -> None:
        """Have the kept answers sent; those that nobody wants any more are harmless."""
        self._answers += self._kept.items()
        self._kept.clear()

    def forget_kept(self) -> None:
        """The kept answers are in the coordinator's hands."""
        self._kept.clear()

    def batch(self) -> list[FromWorker]:
        """Everything that waits, in the order in which it is to be sent; answers first."""
        batch: list[FromWorker] = [
            self._remember(Answers(self._next(), some)) for some in _chunks(self._answers)
        ]
        self._answers = []
        if self._pledges:
            batch.append(self._remember(Pledge(self._next(), self._pledges)))
            self._pledges = []
        batch += self._posts
        self._posts.clear()
        return batch

    def acknowledge(self, number: int) -> None:
        """Answers up to this number have arrived."""
        for known in [known for known in self._unacknowledged if known <= number]:
            del self._unacknowledged[known]

    def repeat(self, ready: Ready | None, asked: Pull | None) -> None:
        """After a reconnection: say again what the coordinator may not know, before what waits anyway.

        What was kept counts as lost there: from now on this worker streams.
        """
        again: list[FromWorker] = [ready] if ready else []
        if self.gathering:
            self.gathering = False
            self.send_kept()
            self._pledges.clear()
            self._unacknowledged = {n: m for n, m in self._unacknowledged.items() if isinstance(m, Answers)}
        again += self._unacknowledged.values()
        if asked is not None:
            again.append(asked)
        waiting: list[FromWorker] = [m for m in self._posts if not isinstance(m, Pull | Ready)]
        self._posts = collections.deque([*again, *waiting])

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _remember(self, message: Answers | Pledge) -> Answers | Pledge:
        self._unacknowledged[message.number] = message
        return message


def _chunks(answers: list[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """As many answers at a time as fit well into a frame."""
    chunk: list[tuple[int, bytes]] = []
    size = 0
    for answer in answers:
        chunk.append(answer)
        size += len(answer[1])
        if size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
