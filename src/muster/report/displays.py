"""Progress while a run goes on: live bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from muster.coordinator.progress import Progress
from muster.core.text import printable

_PLAIN_SECONDS = 10.0


class RichDisplay:
    """Implements `Display` with live bars per task."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def show(self, progress: Progress) -> Iterator[None]:
        """Live bars until the context ends."""
        with Live(
            get_renderable=lambda: render(progress),
            console=self._console,
            refresh_per_second=5,
            transient=False,
        ):
            yield

    def say(self, line: str) -> None:
        """Print a line."""
        self._console.print(line, markup=False, highlight=False)

    announce = say


class PlainDisplay:
    """Implements `Display` with a line now and then, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def show(self, progress: Progress) -> Iterator[None]:
        """A line every ten seconds and one at the end."""
        over, noted = threading.Event(), set[str]()

        def report() -> None:
            while not over.wait(_PLAIN_SECONDS):
                show()

        def show() -> None:
            for line in notes(progress):
                if line not in noted:
                    noted.add(line)
                    self.say(line)
            self.say(summary(progress))

        reporter = threading.Thread(target=report, name="muster-progress", daemon=True)
        reporter.start()
        try:
            yield
        finally:
            over.set()
            reporter.join()
            show()

    def say(self, line: str) -> None:
        """Print a line; where that is impossible (a log on a full disk) the run goes on without."""
        with suppress(OSError):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    announce = say


def summary(progress: Progress) -> str:
    """The whole run in one line."""
    parts = [f"{progress.done}/{progress.total} answered"]
    if progress.kept_back:
        parts.append(f"{progress.kept_back} still with the workers")
    if progress.errored:
        parts.append(f"{progress.errored} errors")
    parts.append(_workers(progress))
    if progress.rate:
        parts.append(f"{progress.rate:.1f}/s")
    if (left := progress.seconds_left) and progress.done < progress.total:
        parts.append(f"{duration(left)} left")
    if progress.notice:
        parts.append(progress.notice)
    return printable(" · ".join(part for part in parts if part))


def notes(progress: Progress) -> list[str]:
    """What the models say of how they answer, a line each: `batching: static (its cache is a …)`."""
    return [f"{name}: {note}" for name, note in progress.notes.items()]


def render(progress: Progress) -> RenderableType:
    """Bars per task and a line for the run."""
    table = Table.grid(padding=(0, 2))
    for task in progress.tasks:
        mean = "" if task.mean is None else f"{task.mean:.3f} {task.shown_score}"
        errors = f"{task.errored} errors" if task.errored else ""
        table.add_row(
            Text(printable(task.name), style="bold"),
            ProgressBar(total=max(task.total, 1), completed=task.done + task.kept_back, width=30),
            f"{task.done}/{task.total}",
            mean,
            Text(errors, style="red"),
        )
    lines = [*notes(progress), summary(progress)]
    return Group(table, *(Text(line, style="dim") for line in lines))


def _workers(progress: Progress) -> str:
    workers = list(progress.workers.values())
    if not workers:
        return ""
    states = Counter("finished" if worker.state == "left" else worker.state for worker in workers)
    text = "replicas: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    joined = Counter(worker.host for worker in workers if worker.joined)
    hosts = ", ".join(f"{count} from {host}" for host, count in sorted(joined.items()))
    return f"{text} (joined: {hosts})" if hosts else text


def duration(seconds: float) -> str:
    """Seconds as `1h05m`, `3m20s` or `12s`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
