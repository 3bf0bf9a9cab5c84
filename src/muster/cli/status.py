"""`muster status`: how far a run is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from muster.results.status import Status


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Show the progress of a running or ended run: per task, per worker, rate, time left, errors."""
    from muster.results.folder import RunFolder
    from muster.results.status import read_status

    status = read_status(RunFolder(run))
    if json:
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(status)).decode())
        return
    from muster.report.console import terminal

    _print(status, terminal())


def _print(status: Status, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from muster.report.displays import duration

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
    if status.judge is not None:
        said = f"judge {status.judge.model}: {status.judge.verdicts} verdicts"
        console.print(Text(f"{said}, {status.judge.failures} failures" if status.judge.failures else said))
    odd = {
        title: counts
        for title, counts in (
            ("cut off", [task.cut_off for task in status.tasks.values()]),
            ("unfinished", [task.unfinished for task in status.tasks.values()]),
        )
        if any(counts)
    }
    tasks = Table("task", "answered", "errors", "requested", *odd, header_style="bold", pad_edge=False)
    for number, (name, task) in enumerate(status.tasks.items()):
        further = (str(counts[number]) for counts in odd.values())
        tasks.add_row(Text(name), str(task.done), str(task.errored), str(task.requested), *further)
    console.print(tasks)
    workers = Table("worker", "finished", "per second", "last answer", header_style="bold", pad_edge=False)
    for name, worker in sorted(status.workers.items()):
        seen = f"{duration(max(0.0, time.time() - worker.last_seen))} ago"
        workers.add_row(Text(name), str(worker.finished), f"{worker.rate:.1f}", seen)
    if status.workers:
        console.print(workers)
    for group in status.errors:
        console.print(Text(f"{group.count} × {group.kind}: {group.message}", style="red"))
