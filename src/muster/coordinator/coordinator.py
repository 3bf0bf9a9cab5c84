"""The one place that owns a run while it goes on: who works on what, what came back, who is alive.

No sockets, processes or threads here: engines drive it, one call at a time, and pass the time in. Times are of a
monotonic clock (seconds): a machine whose clock is set must not lose its workers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from muster.coordinator.progress import Progress, TaskProgress, WorkerState
from muster.coordinator.worker import Worker
from muster.coordinator.workload import Workload
from muster.core import Completion, Failure, Request, RequestKey
from muster.core.encoded import Encoded
from muster.core.foreign_code import ForeignCode
from muster.core.text import valid_text
from muster.results.scoring_limits import within_limits
from muster.scheduling.queue import Claim, Loss, WorkQueue

log = logging.getLogger(__name__)

_LIVE_SECONDS = 1.0
"""What a metric gets for an answer whose score is only shown."""
_LIVE_ALL, _LIVE_EVERY = 1000, 32
"""Of a task's answers, so many are scored at once, and then one in so many: a score takes longer than all else."""


class RecordSink(Protocol):
    """Where completions are kept for good: the journal."""

    def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
        """Keep what a worker has answered at the unix time `at`. Raises `RunError` when it can't."""
        ...


class Granted(NamedTuple):
    """What a pull got. `wait`: ask again after the next answer; `empty`: others hold what is left."""

    requests: list[tuple[int, Request]]
    state: Literal["work", "wait", "empty", "finished"]


class Expired(NamedTuple):
    """A worker that must be given up, and why."""

    worker: str
    reason: str


def _unaskable(key: RequestKey, earlier: Completion) -> Completion:
    """What becomes of a turn of a dialogue when an earlier one has no answer."""
    reason = earlier.failure.message if earlier.failure else ""
    return Completion(
        key,
        failure=Failure(
            "sample",
            "EarlierTurnFailed",
            f"it continues the answer to sample {earlier.key.sample_id}, which failed: {reason}",
        ),
    )


class Coordinator:
    """Gives out the work, takes the answers and keeps every answer exactly once."""

    def __init__(
        self,
        workload: Workload,
        queue: WorkQueue,
        journal: RecordSink,
        progress: Progress,
        *,
        attempt: int,
        worker_timeout: float,
        request_timeout: float,
        load_timeout: float,
        epoch: float = 0.0,
        rounds: RecordSink | None = None,
    ) -> None:
        """`epoch`: the unix time at which the clock of `now` was 0; what is written down has unix times.

        `rounds` keeps the answers of single rounds; None where nothing is asked in rounds.
        """
        self.workload = workload
        self.videos = ""
        """How the models get videos, where their backend says so."""
        self.workers: dict[str, Worker] = {}
        self.progress = progress
        self.draining = False
        self._queue = queue
        self._journal = journal
        self._attempt = attempt
        self._pledged: dict[int, str] = {}
        self._worker_timeout = worker_timeout
        self._request_timeout = request_timeout
        self._load_timeout = load_timeout
        self._epoch = epoch
        self._kept_rounds = rounds
        self._answered_by: dict[int, str] = {}
        """Who answered the last round, of what is asked in rounds."""
        for index in workload.rounds.begun():
            if queue.set_aside(index):
                workload.rounds.go_on(index)

    @property
    def finished(self) -> bool:
        """Every request has an answer or was given up with a reason."""
        return self._queue.finished and not self._pledged

    @property
    def exhausted(self) -> bool:
        """Nothing is left to answer, though workers may still keep answers (`--collect gather`)."""
        return self._queue.finished

    @property
    def keepers(self) -> list[str]:
        """Workers that keep answers of their own, by rank."""
        return sorted(set(self._pledged.values()), key=lambda name: self.workers[name].rank or 0)

    @property
    def outstanding(self) -> int:
        """Requests that live workers are working on."""
        return self._queue.outstanding

    def join(self, name: str, rank: int | None, host: str, pid: int, now: float) -> None:
        """A worker has come, or has come back; what it held before went to the others."""
        self.lose(name, "it connected again", now)  # without effect unless it was thought to be alive
        old = self.workers.get(name)
        worker = Worker(
            name=name,
            rank=rank,
            host=host,
            pid=pid,
            state="loading",
            joined=rank is None,
            seen=now,
            progressed=now,
        )
        if old is not None:
            worker.restarts = int(old.pid != pid)
            worker.busy_seconds, worker.lost_with = old.busy_seconds, old.lost_with
        self.workers[name] = worker
        self.progress.worker(name, worker)

    def undo_loss(self, name: str) -> None:
        """The worker that came back is the process that was lost: only its connection was cut, and nothing died."""
        self._queue.undo_loss(self.workers[name].lost_with)
        self.workers[name].lost_with = ()

    def ready(self, name: str, slots: int, batched: bool, load_seconds: float, now: float) -> None:
        """A worker's model is loaded."""
        worker = self._touch(name, now)
        worker.load_seconds = load_seconds
        worker.slots, worker.batched = slots, batched
        worker.ready_at = worker.ready_at or now
        self.progress.ready_at = self.progress.ready_at or now
        self._enter(worker)

    def pull(self, name: str, limit: int, idle: bool, now: float) -> Granted:
        """Claim up to `limit` requests for a worker. Raises `ValueError` before it was `ready`."""
        claim = self.claim(name, limit, idle, now)
        return Granted([(index, self.workload.request(index)) for index in claim.indices], claim.state)

    def claim(self, name: str, limit: int, idle: bool, now: float) -> Claim:
        """The same by index."""
        worker = self.workers[name]
        if worker.ready_at is None:
            raise ValueError(f"{name} pulls before its model is loaded")
        if self.draining:
            return Claim((), "finished")
        if worker.state == "lost":
            return Claim((), "wait")  # until it shows that it is back
        if limit > worker.slots and not worker.batched:
            # It pulls one by one, faster than claims travel; the queue still bounds the claim's cost.
            self._queue.join(name, rank=worker.rank, slots=limit, batched=False)
        claim = self._queue.claim(name, limit, idle=idle)
        if claim.indices and not worker.held:
            worker.progressed = now
        worker.held.update(dict.fromkeys(claim.indices))
        self._show(worker)
        return claim

    def answer(self, name: str, answers: Sequence[tuple[int, Encoded]], now: float) -> bool:
        """Keep a worker's completions; the first answer to a request wins, whoever gives it.

        Returns whether there is something to claim now that had to come after them. Raises `ValueError` or
        `IndexError`, and keeps none, where a completion isn't of the request whose number it comes with.
        """
        worker = self._touch(name, now)
        for index, answer in answers:
            if index < 0:  # would count from the end
                raise IndexError(f"no request {index}")
            given = answer.completion.key
            if not self.workload.asks(index, given) and not self.workload.rounds.is_earlier(index, given):
                raise ValueError(
                    f"request {index} is {self.workload.asked_key(index)}, and its completion is of {given}"
                )
        blocked = self._queue.blocked
        worker.progressed = now
        if worker.stuck:
            self._enter(worker)
        kept = []
        for index, answer in answers:
            earlier = self.workload.rounds.is_earlier(index, answer.completion.key)
            if not earlier or self._queue.holder(index) != name:  # else it works on a later round
                worker.held.pop(index, None)
            if self._pledged and (keeper := self._pledged.pop(index, None)) is not None:
                self.progress.tasks[self.workload.task(index)].kept_back -= 1
                self._keep([(index, answer)], keeper, now)
            elif earlier or not self._counts(name, index, answer.completion):
                log.info("%s answered %s, which another worker had answered", name, answer.completion.key)
            else:
                kept.append((index, answer))
        worker.answered += len(kept)
        self._keep(kept, name, now)
        self._show(worker)
        aside = sum(index in self.workload.rounds for index, _answer in kept)
        return self._queue.blocked - aside < blocked

    def go_on(self, now: float) -> bool:
        """Take in what the code of tasks has said about their next rounds, where anything is asked in rounds.

        Returns whether something changed: there is more to claim, or a sample has its answer.
        """
        changed = False
        for index, what in self.workload.rounds.said():
            changed = True
            if not isinstance(what, Completion):
                self._queue.put_forward(index)
            elif self._queue.complete("", index) == "accepted":
                self._record(index, Encoded.of(what), self._answered_by.pop(index, ""), now)
        return changed

    def pledge(self, name: str, indices: Iterable[int], now: float) -> None:
        """A worker has answered these and keeps the answers until they are collected."""
        worker = self._touch(name, now)
        worker.progressed = now
        for index in indices:
            worker.held.pop(index, None)
            if self._queue.complete(name, index) == "accepted":
                worker.answered += 1
                self._pledged[index] = name
                self.progress.tasks[self.workload.task(index)].kept_back += 1
        self._show(worker)

    def seen(self, name: str, now: float) -> None:
        """A worker has said something. One that was only silent is back with it; one that was stuck must answer."""
        worker = self._touch(name, now)
        if worker.state == "lost" and not worker.stuck and worker.ready_at is not None:
            self._enter(worker)

    def beat(self, name: str, busy_seconds: float) -> None:
        """How long a worker's model has worked so far (seconds)."""
        self.workers[name].busy_seconds = busy_seconds

    def leave(self, name: str, released: Sequence[int], busy_seconds: float, now: float) -> None:
        """A worker stops in good order; what it claimed and never started goes back."""
        worker = self._touch(name, now)
        worker.busy_seconds = busy_seconds
        self._queue.release(name, released)
        self._part(worker, "left", self._queue.leave(name), "", now)

    def lose(self, name: str, reason: str, now: float, state: WorkerState = "lost") -> None:
        """A worker is dead, silent or stuck; its unfinished work goes back to the queue."""
        worker = self.workers.get(name)
        if worker is None or not worker.alive:
            return
        held = [str(self.workload.key(index)) for index in list(worker.held)[:3]]
        log.log(
            logging.INFO if self.finished or self.draining else logging.WARNING,
            "%s was lost: %s%s",
            name,
            reason,
            f"; it was working on {', '.join(held)}" if held else "",
        )
        loss = self._queue.lose(name)
        worker.lost_with = loss.requeued
        unneeded = self.finished and worker.ready_at is None
        # One that was still loading its model when the others had answered everything isn't missed.
        self._part(worker, "not needed" if unneeded else state, loss, reason, now)

    def check(self, now: float) -> list[Expired]:
        """Workers that were silent, or worked on one thing, for longer than allowed."""
        verdicts = []
        for worker in self.workers.values():
            if not worker.alive:
                continue
            silent = now - worker.seen
            stuck = now - worker.progressed
            if silent > self._worker_timeout:
                verdicts.append(Expired(worker.name, f"silent for {silent:.0f} s{self._working_on(worker)}"))
            elif worker.state == "loading" and stuck > self._load_timeout:
                verdicts.append(
                    Expired(worker.name, f"its model was not loaded within {self._load_timeout:.0f} s")
                )
            elif worker.held and stuck > self._request_timeout:
                worker.stuck = True
                verdicts.append(
                    Expired(worker.name, f"no answer for {stuck:.0f} s{self._working_on(worker)}")
                )
        return verdicts

    def forget_absent(self) -> None:
        """Static schedules: ranks that never came lose their share to the others."""
        self._queue.forget_absent()

    def give_up(self, rank: int) -> None:
        """Static schedules: a rank that won't come (again) loses its share to the others."""
        self._queue.abandon(rank)

    def drain(self) -> None:
        """Give out nothing more."""
        self.draining = True

    def _working_on(self, worker: Worker) -> str:
        if not worker.held:
            return ""
        first = self.workload.key(next(iter(worker.held)))
        return f" while working on {first}" + (f" and {n} more" if (n := len(worker.held) - 1) else "")

    def _enter(self, worker: Worker) -> None:
        worker.state = "working"
        worker.stuck = False
        self._queue.join(worker.name, rank=worker.rank, slots=worker.slots, batched=worker.batched)

    def _show(self, worker: Worker) -> None:
        worker.holding, worker.oldest = len(worker.held), next(iter(worker.held), None)

    def _touch(self, name: str, now: float) -> Worker:
        worker = self.workers[name]
        worker.seen = now
        return worker

    def _part(self, worker: Worker, state: WorkerState, loss: Loss, reason: str, now: float) -> None:
        worker.state = state
        worker.held.clear()
        self._show(worker)
        gone = [index for index, keeper in self._pledged.items() if keeper == worker.name]
        for index in gone:
            del self._pledged[index]
            self.progress.tasks[self.workload.task(index)].kept_back -= 1
        self._queue.reopen(gone)
        for index in loss.poisoned:
            failure = Failure(
                "replica",
                "WorkerLost",
                f"three workers were lost while they worked on it; the last: {valid_text(reason)}",
            )
            lost = Encoded.of(Completion(self.workload.key(index), failure=failure))
            self._keep([(index, lost)], worker.name, now)

    def _counts(self, name: str, index: int, completion: Completion) -> bool:
        """Whether an answer is the first to its request. One round's leaves the request to the next one."""
        if index in self.workload.rounds and completion.text is not None:
            return self._queue.set_aside(index)
        return self._queue.complete(name, index) == "accepted"

    def _keep_round(self, index: int, answer: Encoded, worker: str, now: float) -> None:
        """Journal a round's answer, and have the task's code asked what comes next."""
        if self._kept_rounds is not None:
            self._kept_rounds.append_answer(answer, worker, now + self._epoch, self._attempt)
        self._answered_by[index] = worker
        self.workload.rounds.answered(index, answer.completion)

    def _keep(self, answers: Sequence[tuple[int, Encoded]], worker: str, now: float) -> None:
        for index, answer in answers:
            if index in self.workload.rounds:
                if answer.completion.text is not None:
                    self._keep_round(index, answer, worker, now)
                    continue
                answer = self.workload.rounds.broken_off(index, answer.completion)  # noqa: PLW2901
            self._record(index, answer, worker, now)
            for later in self.workload.answered(index, answer.completion):
                if self._queue.complete(worker, later) == "accepted":
                    unaskable = Encoded.of(_unaskable(self.workload.key(later), answer.completion))
                    self._record(later, unaskable, worker, now)

    def _record(self, index: int, answer: Encoded, worker: str, now: float) -> None:
        self._journal.append_answer(answer, worker, now + self._epoch, self._attempt)
        task = self.progress.tasks[self.workload.task(index)]
        task.add(answer.completion, self._live_scores(index, answer.completion, task))
        self.progress.add(index, answer.completion, worker, now)

    def _live_scores(self, index: int, completion: Completion, task: TaskProgress) -> dict[str, float]:
        if completion.text is None or (task.score.count >= _LIVE_ALL and task.done % _LIVE_EVERY):
            return {}
        try:
            with ForeignCode(), within_limits(completion.text, _LIVE_SECONDS):
                return dict(self.workload.score(index, completion.text))
        except Exception:  # noqa: BLE001  a user's metric must not end the run; scoring reports it at the end
            task.scoring_errors += 1
            return {}
