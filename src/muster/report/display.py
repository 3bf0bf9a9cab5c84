"""What shows a run while it goes on: a terminal, a log, a file of events, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from muster.core.phases import Phase
from muster.core.saying import tell
from muster.results.snapshot import Snapshot


class Display(Protocol):
    """Shows a run while it goes on."""

    def show(self, look: Callable[[], Snapshot]) -> AbstractContextManager[None]:
        """Show how far the run is until the context ends. `look` may be called at any time, in any thread."""
        ...

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Show what is done before and after the model is asked, until the context ends. Phases may nest."""
        ...

    def say(self, line: str) -> None:
        """Tell the user one thing."""
        ...

    def announce(self, line: str) -> None:
        """The same for what nothing can be done without, also where nothing else is shown: how to join."""
        ...


class Silent:
    """Implements `Display` by showing nothing."""

    def show(self, look: Callable[[], Snapshot]) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext()

    def phase(self, phase: Phase) -> AbstractContextManager[None]:  # noqa: ARG002
        """Show nothing."""
        return nullcontext()

    def say(self, line: str) -> None:
        """Say nothing."""

    def announce(self, line: str) -> None:
        """Write a line to standard error; where that is impossible the run goes on without."""
        tell(line)
