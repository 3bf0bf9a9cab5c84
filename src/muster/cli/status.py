"""`muster status`: how far a run is."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from muster.results.folder import RunFolder
    from muster.results.snapshot import Snapshot
    from muster.results.status import Status

_LOOK_SECONDS = 1.0


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Show it until the run ends, and end with its exit status.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show the progress of a running or ended run: per task, per worker, rate, time left, errors."""
    from muster.report.console import terminal
    from muster.results.folder import RunFolder
    from muster.results.status import read_status

    folder = RunFolder(run)
    status = read_status(folder)
    console = terminal(width=None if sys.stdout.isatty() else 140)
    if follow and status.state == "running":
        _follow(folder, status.attempts, console)
        status = read_status(folder)
    if json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(status)).decode())
    else:
        _print(status, console)
    if follow:
        raise typer.Exit(_exit_status(status))


def _exit_status(status: Status) -> int:
    """The run's own; 1 of one that was killed before it could note any."""
    noted = None if status.last is None else status.last.exit_status
    return 1 if noted is None else noted


def _follow(folder: RunFolder, attempt: int, console: Console) -> None:
    from muster.report.displays import PlainDisplay, RichDisplay

    display = RichDisplay(console) if console.is_terminal else PlainDisplay(console, at_once=True)
    with display.show(lambda: _look(folder, attempt)):
        while folder.is_locked():
            time.sleep(_LOOK_SECONDS)


def _look(folder: RunFolder, attempt: int) -> Snapshot:
    """What the run says; before it has said anything, what its journal holds."""
    from muster.results.snapshot import Snapshot, TaskSnapshot, load_snapshot
    from muster.results.status import read_status

    snapshot = load_snapshot(folder.progress)
    if snapshot is not None and snapshot.attempt == attempt:
        return snapshot
    status = read_status(folder)
    tasks = [
        TaskSnapshot(name, task.requested, task.done + task.errored, task.errored)
        for name, task in status.tasks.items()
    ]
    return Snapshot(
        at=time.time(),
        attempt=status.attempts,
        tasks=tasks,
        workers=[],
        done=status.finished,
        total=status.requested,
        errored=sum(task.errored for task in tasks),
        rate=status.rate,
        tokens=0,
    )


def _print(status: Status, console: Console) -> None:
    from rich.text import Text

    from muster.report.live import duration, straggler_lines

    called = f" {status.name}," if status.name else ""
    line = (
        f"run{called} {status.run} of {status.model}: {status.state}, "
        f"{status.finished}/{status.requested} finished"
    )
    if status.rate:
        line += f", {status.rate:.1f}/s"
    if status.time_left is not None:
        line += f", {duration(status.time_left)} left"
    if status.attempts > 1:
        line += f", attempt {status.attempts}"
    console.print(Text(line, style="bold"))
    if status.last is not None:
        console.print(Text(status.last.described()))
    if status.holder is not None:
        console.print(Text(f"held by {status.holder}"))
    if status.notice:
        console.print(Text(status.notice))
    if status.judge is not None:
        said = f"judge {status.judge.model}: {status.judge.verdicts} verdicts"
        console.print(Text(f"{said}, {status.judge.failures} failures" if status.judge.failures else said))
    console.print(_tasks(status))
    if status.workers:
        console.print(_workers(status))
    for straggler in straggler_lines(status.stragglers):
        console.print(Text(straggler, style="yellow"))
    for group in status.errors:
        console.print(Text(f"{group.count} × {group.kind}: {group.message}", style="red"))


def _tasks(status: Status) -> Table:
    from rich.table import Table
    from rich.text import Text

    odd = {
        title: counts
        for title, counts in (
            ("cut off", [task.cut_off for task in status.tasks.values()]),
            ("unfinished", [task.unfinished for task in status.tasks.values()]),
        )
        if any(counts)
    }
    table = Table("task", "answered", "errors", "requested", *odd, header_style="bold", pad_edge=False)
    for number, (name, task) in enumerate(status.tasks.items()):
        further = (str(counts[number]) for counts in odd.values())
        table.add_row(Text(name), str(task.done), str(task.errored), str(task.requested), *further)
    return table


def _workers(status: Status) -> Table:
    from rich.table import Table
    from rich.text import Text

    from muster.report.live import duration

    table = Table(
        "worker",
        "state",
        "finished",
        "per second",
        "last answer",
        "restarts",
        "log",
        header_style="bold",
        pad_edge=False,
    )
    table.columns[-1].overflow = "fold"
    for name, worker in sorted(status.workers.items()):
        ago = duration(max(0.0, time.time() - worker.last_seen))
        table.add_row(
            Text(name),
            Text("finished" if worker.state == "left" else worker.state),
            str(worker.finished),
            f"{worker.rate:.1f}",
            f"{ago} ago" if worker.last_seen else "none yet",
            str(worker.restarts or ""),
            Text(worker.log),
        )
    return table
