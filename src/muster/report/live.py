"""A run that goes on, as text: bars and a row per replica for a terminal, lines for a log. From values, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from muster.core.phases import Phase
from muster.core.text import printable
from muster.results.snapshot import Snapshot, Straggler, TaskSnapshot, WorkerSnapshot

LEAST_ROWS = 4
"""Replicas, and tasks, that are shown on the smallest terminal."""
_OVER = ("left", "not needed")
_FINISHED = {"left": "finished"}


def render(snapshot: Snapshot, height: int = 24) -> RenderableType:
    """Bars per task, a row per replica and a line for the run, in about `height` lines; what is odd comes first."""
    lines = [*straggler_lines(snapshot.stragglers), *notes(snapshot), summary(snapshot)]
    room = max(2 * LEAST_ROWS, height - len(lines) - 5)
    tasks = min(len(snapshot.tasks), max(LEAST_ROWS, room - min(len(snapshot.workers), room // 2)))
    parts: list[RenderableType] = [_tasks(snapshot, tasks)]
    if snapshot.workers:
        parts.append(_workers(snapshot, max(LEAST_ROWS, room - tasks)))
    return Group(*parts, *(Text(line, style="dim") for line in lines))


def summary(snapshot: Snapshot) -> str:
    """The whole run in one line."""
    parts = [f"{snapshot.done}/{snapshot.total} answered"]
    if snapshot.kept_back:
        parts.append(f"{snapshot.kept_back} still with the workers")
    if snapshot.errored:
        parts.append(f"{snapshot.errored} errors")
    if len(snapshot.tasks) == 1:
        parts.append(_score(snapshot.tasks[0]))
    parts.append(_states(snapshot.workers))
    if snapshot.rate:
        parts.append(f"{snapshot.rate:.1f}/s")
    if snapshot.time_left is not None and snapshot.done < snapshot.total:
        parts.append(f"{duration(snapshot.time_left)} left")
    if snapshot.notice:
        parts.append(snapshot.notice)
    return printable(" · ".join(part for part in parts if part))


def task_lines(snapshot: Snapshot) -> list[str]:
    """A line for each task that has begun, for logs."""
    return [
        printable(
            " · ".join(
                part
                for part in (
                    f"{task.name}: {task.done}/{task.total} answered",
                    f"{task.errored} errors" if task.errored else "",
                    _score(task),
                )
                if part
            )
        )
        for task in snapshot.tasks
        if task.done
    ]


def straggler_lines(stragglers: Iterable[Straggler]) -> list[str]:
    """A line for each request that takes much longer than others do."""
    return [
        printable(
            f"straggler: {each.worker} has worked on {each.sample} for {duration(each.seconds)} "
            f"(95 % of the last answers took {short(each.usual_s)} at most)"
        )
        for each in stragglers
    ]


def notes(snapshot: Snapshot) -> list[str]:
    """What the models say of how they answer, a line each: `batching: static (its cache is a …)`."""
    return [f"{name}: {note}" for name, note in snapshot.notes.items()]


def phase_line(phase: Phase) -> str:
    """`scoring vqa: 12,000 of 50,000 answers (24 %), 8s`."""
    done, total = _amount(phase.done, phase.unit), phase.total
    if total is not None:
        amount = f"{done} of {_amount(total, phase.unit)}"
        share = f" ({100 * phase.done / total:.0f} %)" if total else ""
        progress = f"{amount}{_unit(phase.unit)}{share}"
    else:
        progress = f"{done}{_unit(phase.unit)}" if phase.done else ""
    return printable(
        f"{phase.what}: {', '.join(part for part in (progress, duration(phase.seconds)) if part)}"
    )


def render_phase(phase: Phase) -> RenderableType:
    """The same with a bar, where it is known how much there will be."""
    line = Text(phase_line(phase), style="dim")
    if not phase.total:
        return line
    grid = Table.grid(padding=(0, 2))
    grid.add_row(ProgressBar(total=phase.total, completed=phase.done, width=30), line)
    return grid


def _amount(count: int, unit: str) -> str:
    return f"{count / 1e6:,.1f}" if unit == "bytes" else f"{count:,}"


def _unit(unit: str) -> str:
    return " MB" if unit == "bytes" else f" {unit}" if unit else ""


def _tasks(snapshot: Snapshot, most: int) -> Table:
    table = Table.grid(padding=(0, 2))
    going = sorted(snapshot.tasks, key=lambda task: (task.done == task.total, task.done == 0))
    shown = snapshot.tasks if len(snapshot.tasks) <= most else going[:most]
    for task in shown:
        table.add_row(
            Text(printable(task.name), style="bold"),
            ProgressBar(total=max(task.total, 1), completed=task.done + task.kept_back, width=30),
            f"{task.done}/{task.total}",
            Text(_score(task)),
            Text(f"{task.errored} errors" if task.errored else "", style="red"),
        )
    if rest := len(snapshot.tasks) - len(shown):
        table.add_row(Text(f"and {rest} more tasks", style="dim"))
    return table


def _score(task: TaskSnapshot) -> str:
    if task.score is None:
        return ""
    interval = "" if task.ci95 is None else f" ({task.ci95[0]:.3f} – {task.ci95[1]:.3f})"
    return f"{task.score_name} {task.score:.3f}{interval}".strip()


def _workers(snapshot: Snapshot, most: int) -> Table:
    straggling = {each.worker for each in snapshot.stragglers}
    table = Table(
        "replica", "host", "state", "answered", "per second", "holds", "restarts", "working on", box=None
    )
    table.header_style = "dim"
    ranked = snapshot.workers
    if len(ranked) > most:
        ranked = sorted(ranked, key=lambda each: _oddness(each, straggling))[:most]
    for each in ranked:
        table.add_row(*(Text(cell, style=_style(each, straggling)) for cell in _cells(each)))
    rest = (
        snapshot.workers
        if len(ranked) == len(snapshot.workers)
        else [each for each in snapshot.workers if each not in ranked]
    )
    if len(ranked) < len(snapshot.workers):
        table.add_row(Text(f"and {len(rest)} more", style="dim"), "", Text(_counts(rest), style="dim"))
    return table


def _cells(worker: WorkerSnapshot) -> list[str]:
    on = ""
    if worker.sample and worker.waiting_s is not None:
        on = f"{worker.sample} for {duration(worker.waiting_s)}"
    state = f"{worker.state}, slow" if worker.slow else _FINISHED.get(worker.state, worker.state)
    return [
        printable(worker.name),
        printable(worker.host),
        state,
        str(worker.answered),
        f"{worker.rate:.1f}",
        str(worker.holding),
        str(worker.restarts or ""),
        printable(on),
    ]


def _oddness(worker: WorkerSnapshot, straggling: set[str]) -> tuple[bool, bool, bool, str]:
    calm = worker.state in ("working", *_OVER)
    return (calm, worker.name not in straggling and not worker.slow, worker.state in _OVER, worker.name)


def _style(worker: WorkerSnapshot, straggling: set[str]) -> str:
    if worker.state in ("lost", "failed"):
        return "red"
    if worker.slow or worker.name in straggling:
        return "yellow"
    return "dim" if worker.state in _OVER else ""


def _states(workers: list[WorkerSnapshot]) -> str:
    if not workers:
        return ""
    text = f"replicas: {_counts(workers)}"
    joined = Counter(worker.host for worker in workers if worker.joined)
    hosts = ", ".join(f"{count} from {host}" for host, count in sorted(joined.items()))
    return f"{text} (joined: {hosts})" if hosts else text


def _counts(workers: list[WorkerSnapshot]) -> str:
    states = Counter(_FINISHED.get(worker.state, worker.state) for worker in workers)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def short(seconds: float) -> str:
    """Seconds with a digit behind the point, where there are few."""
    return f"{seconds:.1f}s" if seconds < 10 else duration(seconds)


def duration(seconds: float) -> str:
    """Seconds as `1h05m`, `3m20s` or `12s`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
