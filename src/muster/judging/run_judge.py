"""A run and its judge: every answer that is journalled goes to the judge, and those of earlier attempts too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from muster.coordinator.progress import Progress
from muster.core import RequestKey
from muster.core.encoded import Encoded
from muster.judging.judge import JudgeSpec
from muster.judging.session import AnswerToJudge, Judging
from muster.metrics.protocol import is_judged
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_read import JournalReader
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask


class Sink(Protocol):
    """Where a run's completions are kept."""

    def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
        """Keep one. Raises `RunError` when it can't."""
        ...

    def sync(self) -> None:
        """Make what was appended durable. Raises `RunError`."""
        ...


class RunJudge(Protocol):
    """What a run needs of its judge; a context in which the judge works."""

    @property
    def book(self) -> VerdictBook | None:
        """The verdicts to score by; None: those that the folder has of whoever was asked before."""
        ...

    def follow(self, journal: Journal) -> Sink:
        """A sink that appends to the run's journal, and has the answers judged."""
        ...

    def finish(self, progress: Progress) -> None:
        """Wait for the verdicts."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def variants_that_ask(task: Task) -> list[str]:
    """The variants by which the task is scored that may ask a judge."""
    return [
        metric.info.variant
        for metric in (task.metric, *task.also)
        if is_judged(metric) and metric.judge_prompt is not None
    ]


def nothing_to_judge(spec: JudgeSpec) -> str:
    """What to say of a judge that was named where nobody asks one."""
    return f"no task here asks a judge, as it is scored (--scoring): {spec.judge.model} has nothing to do"


def judge_of_run(
    spec: JudgeSpec | None,
    folder: RunFolder,
    run_id: str,
    planned: Sequence[PlannedTask],
    load_seconds: float,
    say: Callable[[str], None],
) -> RunJudge:
    """Start the judge where there is one and a task that asks it; else say what will be unscored.

    Raises:
        ConfigurationError: the judge can't be asked as things are.
        RunError: it doesn't start.
    """
    asking = [each for each in planned if variants_that_ask(each.task)]
    if spec is None:
        for each in asking:
            say(
                f"task {each.task.name} ({', '.join(variants_that_ask(each.task))}): answers that need a judge's "
                "verdict stay unscored; --judge MODEL names a judge (docs/judges.md)"
            )
        return _Nobody()
    if not asking:
        say(nothing_to_judge(spec))
        return _Nobody()
    judging = Judging(
        spec, folder.verdicts, run_id, log_file=folder.log("judge"), load_seconds=load_seconds, say=say
    )
    return _AtWork(judging, folder, asking)


class _Nobody:
    """Implements `RunJudge` where nobody is asked."""

    book: None = None

    def follow(self, journal: Journal) -> Sink:
        return journal

    def finish(self, progress: Progress) -> None:  # noqa: ARG002
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


class _AtWork:
    """Implements `RunJudge` with a judge."""

    def __init__(self, judging: Judging, folder: RunFolder, asking: Sequence[PlannedTask]) -> None:
        self._judging, self._folder, self._asking = judging, folder, asking

    @property
    def book(self) -> VerdictBook:
        return self._judging.book

    def follow(self, journal: Journal) -> Sink:
        hand_in_journal(self._folder, self._asking, self._judging)
        return _Followed(journal, self._asking, self._judging)

    def finish(self, progress: Progress) -> None:
        def tell(line: str) -> None:
            progress.notice = line

        self._judging.finish(tell)
        progress.notice = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._judging.__exit__(kind, error, traceback)


def hand_in_journal(folder: RunFolder, planned: Sequence[PlannedTask], judging: Judging) -> None:
    """Have the answers judged that a run folder holds."""
    with JournalReader(folder.journal) as journal:
        for each in planned:
            for sample in each.samples:
                for repeat in range(each.repeats):
                    key = RequestKey(each.task.name, sample.id, repeat)
                    record = journal.get(key) if journal.succeeded(key) else None
                    if record is not None:
                        judging.judge(AnswerToJudge(each.task, sample, repeat, record.completion.text or ""))


class _Followed:
    """Implements `Sink`: the run's journal, whose answers are judged as they are appended."""

    def __init__(self, journal: Journal, planned: Sequence[PlannedTask], judging: Judging) -> None:
        self._journal, self._judging = journal, judging
        self._tasks = {
            each.task.name: (each.task, {sample.id: sample for sample in each.samples}) for each in planned
        }

    def append_answer(self, answer: Encoded, worker: str, at: float, attempt: int) -> None:
        self._journal.append_answer(answer, worker, at, attempt)
        key, text = answer.completion.key, answer.completion.text
        found = self._tasks.get(key.task)
        if found is None or text is None:
            return
        task, samples = found
        self._judging.judge(AnswerToJudge(task, samples[key.sample_id], key.repeat, text))

    def sync(self) -> None:
        self._journal.sync()
        self._judging.sync()
