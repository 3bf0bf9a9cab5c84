"""`--events FILE`: what happens in a run, as lines of JSON for machines. The schema is in docs/events.md."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

import msgspec

from muster.core import ConfigurationError, InterruptedRunError, MusterError
from muster.core.phases import Phase
from muster.core.saying import tell
from muster.report.repeatedly import repeatedly
from muster.results.files import encode_json
from muster.results.snapshot import Snapshot

if TYPE_CHECKING:
    from muster.config import RunConfig
    from muster.report.display import Display
    from muster.results.results import Results

VERSION = 1
EVERY_SECONDS = 2.0
"""Between two `progress` events, and between two of a phase."""


class EventFile:
    """Implements `Display` with a line of JSON for each event. A file that can't be written any more costs no run."""

    def __init__(self, path: Path) -> None:
        """Append to `path`. Raises `ConfigurationError` where it can't be opened."""
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file: BinaryIO | None = path.open("ab", buffering=0)
        except OSError as error:
            raise ConfigurationError(
                f"--events {path}: can't be written ({error.strerror or error})"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, event: str, **fields: object) -> None:
        """One event, at this moment. May be called from several threads."""
        line = encode_json({"event": event, "at": time.time(), **fields}) + b"\n"
        with self._lock:
            if self._file is None:
                return
            try:
                self._file.write(line)
            except OSError as error:
                self._file = None
                tell(f"muster: --events {self._path}: no further events ({error.strerror or error})")

    @contextmanager
    def run(self, config: RunConfig, folder: Path) -> Iterator[Callable[[Results], None]]:
        """`begin` now, and `end` with what becomes of the context. Call what it gives with the results."""
        self.write(
            "begin",
            version=VERSION,
            model=config.model,
            name=config.name or "",
            tasks=config.tasks,
            folder=str(folder),
        )
        got: list[Results] = []
        try:
            yield got.append
        except (MusterError, InterruptedRunError) as error:
            self.write("end", exit_status=error.exit_code, error=str(error))
            raise
        except BaseException as error:
            self.write("end", exit_status=1, error=f"{type(error).__name__}: {error}")
            raise
        for results in got:
            self._tell_scores(results)
            self.write("end", exit_status=results.exit_status(config.max_failures), error="")

    @contextmanager
    def show(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """`progress` every two seconds, and once at the end."""
        with self._meanwhile(lambda: self._progress(look())):
            yield
        self._progress(look())

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """`phase` at its beginning and its end, and every two seconds between."""
        self._phase(phase, "began")
        try:
            with self._meanwhile(lambda: self._phase(phase, "going")):
                yield
        finally:
            self._phase(phase, "ended")

    def say(self, line: str) -> None:
        """`message`."""
        self.write("message", text=line)

    announce = say

    def _progress(self, snapshot: Snapshot) -> None:
        fields = msgspec.to_builtins(snapshot)
        del fields["at"]
        self.write("progress", **fields)

    def _phase(self, phase: Phase, state: str) -> None:
        self.write(
            "phase",
            what=phase.what,
            state=state,
            done=phase.done,
            total=phase.total,
            unit=phase.unit,
            seconds=round(phase.seconds, 3),
        )

    def _tell_scores(self, results: Results) -> None:
        for name, task in results.tasks.items():
            for metric, result in task.metrics.items():
                self.write(
                    "score",
                    task=name,
                    metric=metric,
                    value=result.value,
                    ci95=result.ci95,
                    unit=result.unit,
                    n=result.n,
                    primary=metric == task.primary,
                )

    def _meanwhile(self, tell: Callable[[], None]) -> AbstractContextManager[None]:
        return repeatedly(tell, lambda: EVERY_SECONDS, "muster-events")


class Both:
    """Implements `Display` with two of them."""

    def __init__(self, one: Display, other: Display) -> None:
        self._displays = (one, other)

    @contextmanager
    def show(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """Shown by both."""
        with ExitStack() as stack:
            for display in self._displays:
                stack.enter_context(display.show(look))
            yield

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Shown by both."""
        with ExitStack() as stack:
            for display in self._displays:
                stack.enter_context(display.phase(phase))
            yield

    def say(self, line: str) -> None:
        """Said by both."""
        for display in self._displays:
            display.say(line)

    def announce(self, line: str) -> None:
        """Said by both."""
        for display in self._displays:
            display.announce(line)
