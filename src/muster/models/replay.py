"""The replay backend: gives the answers of an earlier run again, with or without the time that they took."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Literal, TypeAlias

from muster.core import JSON, Completion, ConfigurationError, Failure, Request, RequestKey, SampleError
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.results.folder import RunFolder
from muster.results.journal_read import JournalReader, read_entries

Delay: TypeAlias = float | Literal["recorded"]

ARGUMENTS = ("task", "delay")


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """`--model-args` of this backend."""

    task: str | None = None
    """The task of the recorded run whose answers are given, whatever the asking task is called; None: of its name."""
    delay: Delay = 0.0
    """Seconds before an answer, or `recorded`: as long as the backend spent on it then."""


class Replay:
    """Answers by task, sample id and repeat what the run in the folder `--model` was answered.

    The journal is read one record at a time, so it may be larger than memory. Recorded failures are given again as
    they were; a request that the run has no record of fails as its sample's error. Prompts and generation settings
    aren't compared: whoever asks again with other ones gets the old answers.
    """

    models: ModelKind = "any"
    uses_gpus = False
    likelihoods = True

    def __init__(self, settings: ModelSettings) -> None:
        """Index the journal. Raises `ConfigurationError` where there is none, or for unknown arguments."""
        self.check(settings)
        self.options = parse_options(settings.args)
        self.slots = settings.max_in_flight or 1
        self._run = RunFolder(Path(settings.model))
        self._recording, self._rounds = JournalReader(self._run.journal), JournalReader(self._run.rounds)

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` for settings that can't work."""
        parse_options(settings.args)
        run = RunFolder(Path(settings.model))
        if not run.journal.is_file():
            raise ConfigurationError(
                f"--backend replay --model {settings.model}: that is no run folder (it has no {run.journal.name}). "
                "Give the --output of an earlier run"
            )

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Give up to `slots` answers at the same time, each when its delay is over."""
        order = count()
        due: list[tuple[float, int, Completion]] = []
        more = True
        while more or due:
            while more and len(due) < self.slots:
                request = next(requests, None)
                if request is None:
                    more = False
                else:
                    completion = self.recorded(request)
                    heapq.heappush(due, (time.monotonic() + self.delay(completion), next(order), completion))
            if due:
                moment, _, completion = heapq.heappop(due)
                if (wait := moment - time.monotonic()) > 0:
                    time.sleep(wait)
                yield completion

    def recorded(self, request: Request) -> Completion:
        """What the run was answered, or the failure of a sample that it has nothing about."""
        asked = request.key
        key = RequestKey(self.options.task or asked.task, asked.sample_id, asked.repeat)
        record = self._recording.get(key) or self._rounds.get(key)
        if record is None:
            missing = SampleError(
                f"the run in {self._run.root} has no answer to this sample of {key.task}; "
                f"it has answers of: {self._tasks}"
            )
            return Completion(asked, failure=Failure.from_exception(missing))
        then = record.completion
        return replace(then, key=asked)

    @cached_property
    def _tasks(self) -> str:
        """What the run has answers of, for those who miss some."""
        tasks = {entry.completion.key.task for entry in read_entries(self._run.journal)}
        return ", ".join(sorted(tasks)) or "no task"

    def delay(self, completion: Completion) -> float:
        """Seconds until this answer is given."""
        if self.options.delay == "recorded":
            return completion.seconds or 0.0
        return self.options.delay


def parse_options(args: Mapping[str, JSON]) -> ReplayOptions:
    """`--model-args`. Raises `ConfigurationError` for what isn't known, or no such value."""
    for name in args:
        if name not in ARGUMENTS:
            raise ConfigurationError(
                f"--model-args {name}: the replay backend has no such argument. Known: {', '.join(ARGUMENTS)}"
            )
    task, delay = args.get("task"), args.get("delay", 0.0)
    if task is not None and not isinstance(task, str):
        raise ConfigurationError(f"--model-args task={task!r}: expected the name of a task")
    if delay == "recorded":
        return ReplayOptions(task, "recorded")
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay < float("inf"):
        raise ConfigurationError(f"--model-args delay={delay}: expected seconds, or `recorded`")
    return ReplayOptions(task, float(delay))
