"""Has answers judged, in the background, and journals each verdict as it comes."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

from muster.core import Completion, Interruption, MusterError, Request, RequestKey, RunError, Sample
from muster.core.foreign_code import ForeignCode
from muster.judging.judge import JudgeSpec, in_its_options
from muster.judging.messages import Ask, Broken, Finish, Said
from muster.judging.process import JudgeProcess
from muster.metrics.protocol import Inquiry, has_reference, is_judged
from muster.results.journal import Journal
from muster.results.journal_lines import Verdict
from muster.tasks.definition import Task

log = logging.getLogger(__name__)

MOST_FRUITLESS_STARTS = 3
"""In a row, without a verdict in between, of a judge whose process dies."""
DRAIN_SECONDS = 20.0
"""What verdicts that are being given get after an interruption: they are paid for."""
_TELL_SECONDS = 0.5


class AnswerToJudge(NamedTuple):
    """One answer of the model."""

    task: Task
    sample: Sample
    repeat: int
    text: str

    @property
    def key(self) -> RequestKey:
        """Names it."""
        return RequestKey(self.task.name, self.sample.id, self.repeat)

    def inquiries(self) -> Iterator[Inquiry]:
        """What the task's scoring variants would ask about it."""
        split = self.task.thinking.split(self.text)
        for metric in (self.task.metric, *self.task.also):
            if not is_judged(metric) or not has_reference(metric, self.sample):
                continue
            inquiry = metric.inquiry(self.sample, self.task.scored_text(metric, split, self.text))
            if inquiry is not None:
                yield inquiry


class _Question(NamedTuple):
    key: RequestKey
    prompt: str
    asked: str
    request: Request


class Judging:
    """A judge at work. Answers are handed in by any thread; verdicts are in `book` after `finish`.

    Two threads: one makes questions of answers and sends them, one takes verdicts in. Where the judge fails for good,
    `book.silence` says why, and what it wasn't asked stays unscored.
    """

    def __init__(
        self,
        spec: JudgeSpec,
        verdicts: Path,
        run_id: str,
        *,
        log_file: Path | None = None,
        load_seconds: float = 3600.0,
        say: Callable[[str], None] = log.warning,
    ) -> None:
        """Starts the judge and waits until it is ready. `verdicts`: the journal of verdicts of the run `run_id`.

        Raises:
            ConfigurationError: the judge can't be asked as things are; the journal isn't this run's.
            RunError: the judge doesn't start.
        """
        self._spec, self._log_file, self._load_seconds, self._say = spec, log_file, load_seconds, say
        self._journal = Journal.open(verdicts, run_id)
        self.book = spec.book(verdicts)
        self.book.ask = self.ask
        self._answers: SimpleQueue[AnswerToJudge | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._handed_in = self._considered = 0
        self._open: dict[int, _Question] = {}
        self._keys: set[str] = set()
        self._count = 0
        self._fruitless = 0
        self._heard = time.monotonic()
        self._stuck = False
        self._closing = False
        self._error: MusterError | None = None
        self._sending = threading.Lock()  # a question is sent once, also while the process is replaced
        try:
            self._start()
        except BaseException:
            self._journal.close()
            raise
        self._threads = [
            threading.Thread(target=target, name=f"muster-judge-{name}", daemon=True)
            for name, target in (("ask", self._ask), ("listen", self._listen))
        ]
        for thread in self._threads:
            thread.start()

    def judge(self, answer: AnswerToJudge) -> None:
        """Have an answer judged, unless it needs no judge or was judged before. Returns at once."""
        with self._changed:
            self._handed_in += 1
        self._answers.put(answer)

    def ask(self, about: RequestKey, inquiry: Inquiry) -> None:
        """Have one question about an answer answered now; what was said, or why nothing was, is then in `book`."""
        asked = self.book.key(self._spec.worded(inquiry))
        self._heard = time.monotonic()
        self._send(about, inquiry, 0)
        while True:
            with self._changed:
                if (
                    self.book.silence
                    or self._error
                    or all(each.asked != asked for each in self._open.values())
                ):
                    return
                self._changed.wait(_TELL_SECONDS)
            self._check()

    def sync(self) -> None:
        """Make the verdicts durable. Raises `RunError` where they can't be written."""
        if self._error is not None:
            raise self._error
        self._journal.sync()

    def finish(self, tell: Callable[[str], None] = log.debug) -> None:
        """Wait until every answer that was handed in is judged, or can't be; tell how many wait.

        A judge that says nothing for longer than the request timeout is taken for stuck, and started again.

        Raises:
            RunError: verdicts can't be written.
        """
        self._heard = time.monotonic()
        while True:
            with self._changed:
                if self._settled():
                    break
                waiting = len(self._open) + self._handed_in - self._considered
                self._changed.wait(_TELL_SECONDS)
            tell(f"waiting for the judge: {waiting} to go")
            self._check()
            self.sync()
        self.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """End the judge; where the run ends before its time, let it finish what it is saying."""
        self._closing = True
        self.book.ask = None
        self._answers.put(None)
        if isinstance(error, MusterError | Interruption) and self._sending.acquire(
            timeout=1.0
        ):  # else it is being replaced
            self._process.send(Finish())
            self._sending.release()
            with contextlib.suppress(Interruption):  # a second signal
                self._threads[1].join(DRAIN_SECONDS)
        self._process.end()
        for thread in self._threads:
            thread.join(DRAIN_SECONDS)  # a metric that is asked for its questions may be stuck
        self._journal.close()

    def _check(self) -> None:
        """End a process that is stuck; `_listen` replaces it."""
        silent = time.monotonic() - self._heard
        if silent < self._spec.settings.request_timeout or self.book.silence:
            return
        if self._sending.acquire(
            blocking=False
        ):  # else it is being replaced, and may load for as long as it needs
            self._heard, self._stuck = time.monotonic(), True
            self._process.end()
            self._sending.release()

    def _settled(self) -> bool:
        if self._error is not None:
            return True
        return self._considered == self._handed_in and (not self._open or bool(self.book.silence))

    def _start(self) -> None:
        self._process = JudgeProcess(self._spec, self._log_file)
        try:
            if self._closing:  # `__exit__` may have ended the one before
                raise RunError("the run is over")
            self._process.wait_until_ready(self._load_seconds)
        except BaseException:
            self._process.end()
            raise

    # -- asking

    def _ask(self) -> None:
        while (answer := self._answers.get()) is not None and not self._closing:
            try:
                with ForeignCode():
                    for inquiry in answer.inquiries():
                        for grading in range(self._spec.gradings):
                            self._send(answer.key, inquiry, grading)
            except Exception:  # a plug-in's metric; scoring meets the same error and notes it on the sample
                log.exception("no judge could be asked about %s", answer.key)
            with self._changed:
                self._considered += 1
                self._changed.notify_all()

    def _send(self, about: RequestKey, inquiry: Inquiry, grading: int) -> None:
        inquiry = self._spec.worded(inquiry)
        asked = self.book.key(inquiry, grading)
        request = Request(RequestKey("judge", asked), inquiry.messages, self._spec.generation(inquiry))
        with self._sending:
            with self._changed:
                if self.book.silence or asked in self._keys or self.book.answered(asked):
                    return
                self._keys.add(asked)
                self._count += 1
                index = self._count
                self._open[index] = _Question(about, inquiry.prompt, asked, request)
            self._process.send(Ask(index, request))

    # -- listening

    def _listen(self) -> None:
        while True:
            for message in self._process.messages():
                if isinstance(message, Said):
                    self._enter(message.index, message.completion)
                elif isinstance(message, Broken):
                    self._fall_silent(in_its_options(message.message))
            if self._closing or self.book.silence or not self._replaced():
                return

    def _enter(self, index: int, completion: Completion) -> None:
        with self._changed:
            question = self._open.pop(index, None)
        if question is None:
            return
        self._fruitless = 0
        self._heard = time.monotonic()
        verdict = Verdict(
            replace(completion, key=question.key),
            self._spec.judge.model,
            self._spec.judge.id,
            question.prompt,
            question.asked,
            time.time(),
        )
        try:
            self._journal.append(verdict)
            self._journal.flush()
        except RunError as error:
            self._error = error
        with self._changed:
            self.book.add(verdict)
            self._changed.notify_all()

    def _replaced(self) -> bool:
        """Start the judge again after its death, and ask what is open once more; False where that is no use."""
        with self._sending:
            self._fruitless += 1
            reason = f"its process {self._process.end()}"
            if self._stuck:
                reason = f"no verdict for {self._spec.settings.request_timeout:g} s"
                self._stuck = False
            if self._fruitless >= MOST_FRUITLESS_STARTS:
                self._fall_silent(f"{reason}, {self._fruitless} times without a verdict in between")
                return False
            log.warning("the judge: %s; starting it again", reason)
            try:
                self._start()
            except MusterError as error:
                self._fall_silent(str(error))
                return False
            self._heard = time.monotonic()
            with self._changed:
                questions = list(self._open.items())
            for index, question in questions:
                self._process.send(Ask(index, question.request))
        return True

    def _fall_silent(self, reason: str) -> None:
        with self._changed:
            self.book.silence = f"the judge {self._spec.judge.model} can't be asked any more: {reason}"
            self._changed.notify_all()
        self._say(f"{self.book.silence}. The rest stays unscored; `muster score` with --judge asks it later")
