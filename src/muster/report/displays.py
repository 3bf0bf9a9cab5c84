"""Progress while a run goes on: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from muster.core.phases import Phase
from muster.report.live import notes, phase_line, render, render_phase, straggler_lines, summary, task_lines
from muster.report.repeatedly import repeatedly
from muster.results.snapshot import Snapshot

_PLAIN_SECONDS = 10.0
_TASKS_SECONDS = 60.0
_SOON_SECONDS = 0.5


class RichDisplay:
    """Implements `Display` with live bars per task and a row per replica."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phases: list[Phase] = []
        self._look: Callable[[], Snapshot] | None = None

    @contextmanager
    def show(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """Live bars until the context ends."""
        self._look = look
        try:
            with self._live(lambda: self._with_phases(render(look(), self._console.height)), transient=False):
                yield
        finally:
            self._look = None

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """A line, with a bar where there is a total; gone when the phase is over."""
        outermost = not self._phases and self._look is None
        self._phases.append(phase)
        try:
            with self._soon() if outermost else nullcontext():
                yield
        finally:
            self._phases.remove(phase)

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, highlight=False)

    announce = say

    @contextmanager
    def _soon(self) -> Iterator[None]:
        """A live line for what takes longer than a moment."""
        live, over = self._live(self._with_phases, transient=True), threading.Event()

        def begin() -> None:
            if not over.wait(_SOON_SECONDS):
                live.start()

        beginner = threading.Thread(target=begin, name="muster-progress", daemon=True)
        beginner.start()
        try:
            yield
        finally:
            over.set()
            beginner.join()
            live.stop()

    def _live(self, renderable: Callable[[], RenderableType], *, transient: bool) -> Live:
        return Live(
            get_renderable=renderable, console=self._console, refresh_per_second=5, transient=transient
        )

    def _with_phases(self, below: RenderableType | None = None) -> RenderableType:
        shown = [render_phase(phase) for phase in self._phases[-1:]]
        parts = [*shown, *([] if below is None else [below])]
        return Group(*parts) if parts else Text("")


class PlainDisplay:
    """Implements `Display` with a line now and then, for logs."""

    def __init__(self, console: Console, every: float = _PLAIN_SECONDS, *, at_once: bool = False) -> None:
        """`every`: seconds between two lines, and before the first one unless it comes `at_once`."""
        self._console = console
        self._every = every
        self._tasks_said = time.monotonic()
        self._said = self._tasks_said - every if at_once else self._tasks_said
        self._noted: set[str] = set()

    @contextmanager
    def show(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """A line every ten seconds and one at the end; each task's once a minute."""
        try:
            with self._meanwhile(lambda: self._tell(look())):
                yield
        finally:
            self._tell(look(), last=True)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """A line every ten seconds, also where several short phases follow one another."""
        with self._meanwhile(lambda: self.say(phase_line(phase))):
            yield

    def say(self, line: str) -> None:
        """Print a line; where that is impossible (a log on a full disk) the run goes on without."""
        self._said = time.monotonic()
        with suppress(OSError):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    announce = say

    def _tell(self, snapshot: Snapshot, *, last: bool = False) -> None:
        for line in [*notes(snapshot), *straggler_lines(snapshot.stragglers)]:
            first = line.partition(" for ")[0]
            if first not in self._noted:
                self._noted.add(first)
                self.say(line)
        several = len(snapshot.tasks) > 1
        if several and (last or time.monotonic() - self._tasks_said >= _TASKS_SECONDS):
            self._tasks_said = time.monotonic()
            for line in task_lines(snapshot):
                self.say(line)
        self.say(summary(snapshot))

    def _meanwhile(self, tell: Callable[[], None]) -> AbstractContextManager[None]:
        def tell_when_due() -> None:
            if time.monotonic() - self._said >= self._every:
                tell()

        def left() -> float:
            return max(0.0, self._said + self._every - time.monotonic())

        return repeatedly(tell_when_due, left, "muster-progress")
