"""A run that goes on: how far its tasks are, who works, what failed. Made of its journal, again every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable

from muster.report.page.charts import axis, interval_chart
from muster.report.page.markup import count_of, duration, number, table, text
from muster.report.page.shell import asset, closing, opening
from muster.results.snapshot import Snapshot, TaskSnapshot
from muster.results.status import Status, WorkerStatus
from muster.view.addresses import address

_BAR = 240
_MOST_WORKERS = 64


def live_page(name: str, status: Status, snapshot: Snapshot | None, every: float) -> Iterable[str]:
    """The page; it asks for itself again after `every` seconds while the run goes on.

    `snapshot`: what the run itself says of its scores so far.
    """
    script = asset("view.js")
    label = status.name or status.model
    again = f' data-every="{every:.0f}"' if status.state == "running" else ""
    yield opening(label, script, served=True)
    yield f'<header><nav><a href="/">all runs</a></nav><h1>{text(label)}</h1></header><main><div id="live"{again}>'
    yield f'<p class="sentence">{_sentence(status)}</p><p class="soft">{text(name)}</p>'
    yield f'<p><a href="{text(address("report", [name]))}">Report of {_which(status)}</a></p>'
    if status.notice:
        yield f"<p>{text(status.notice)}</p>"
    yield "<h2>Tasks</h2>" + _tasks(status, snapshot)
    if status.stragglers:
        rows = [
            f'<tr><th scope="row">{text(each.sample)}</th><td>{text(each.worker)}</td>'
            f'<td class="number">{duration(each.seconds)}</td><td class="number">{duration(each.usual_s)}</td></tr>'
            for each in status.stragglers
        ]
        yield "<h2>What takes long</h2>" + table(
            ["sample", "worker", "so far", "95 % take at most"], rows, numbers=2
        )
    if status.errors:
        rows = [
            f'<tr><td class="number">{each.count:,}</td><td>{text(each.kind)}</td><td>{text(each.message)}</td></tr>'
            for each in status.errors
        ]
        yield "<h2>What failed</h2>" + table(["requests", "kind", "message"], rows)
    yield "<h2>Workers</h2>" + _workers(status)
    yield "</div></main>" + closing(script)


def _which(status: Status) -> str:
    return "the answers so far" if status.state == "running" else "the run"


def _sentence(status: Status) -> str:
    share = status.finished / status.requested if status.requested else 0.0
    said = (
        f"{status.state}: <b>{status.finished:,} of {status.requested:,}</b> requests finished ({share:.0%})"
    )
    if status.state == "running" and status.rate:
        said += f", {status.rate:.1f} a second"
    if status.time_left is not None:
        said += f", about {duration(status.time_left)} left"
    return f"{said}."


def _tasks(status: Status, snapshot: Snapshot | None) -> str:
    rows = []
    so_far = {task.name: task for task in (snapshot.tasks if snapshot else ())}
    for name, task in status.tasks.items():
        share = (task.done + task.errored) / task.requested if task.requested else 0.0
        errors = f'<span class="bad">{task.errored:,}</span>' if task.errored else "0"
        rows.append(
            f'<tr><th scope="row">{text(name)}</th><td class="share">'
            f'<svg width="{_BAR}" height="10" aria-hidden="true">'
            f'<rect class="idle" width="{_BAR}" height="10"/>'
            f'<rect class="busy" width="{_BAR * min(share, 1.0):.1f}" height="10"/></svg> {share:.0%}</td>'
            f'<td class="number">{task.done:,} of {task.requested:,}</td><td class="number">{errors}</td>'
            f'<td class="number">{task.cut_off:,}</td>{_score(so_far.get(name))}</tr>'
        )
    return table(["task", "finished", "answers", "errors", "cut off", "score so far", axis()], rows)


def _score(task: TaskSnapshot | None) -> str:
    if task is None or task.score is None:
        return "<td>–</td><td></td>"
    value = number(task.score, task.ci95)
    said = f"{text(task.score_name)} {value} ({count_of(task.scored, 'answer')})"
    return f"<td>{said}</td><td>{interval_chart([(task.score, task.ci95)], max(1.0, task.score))}</td>"


def _workers(status: Status) -> str:
    now = time.time()
    workers = sorted(status.workers.items(), key=lambda each: each[1].last_seen)
    rows = [
        f'<tr><th scope="row">{text(name)}</th><td class="number">{each.finished:,}</td>'
        f'<td class="number">{each.rate:.2f}</td><td>{text(each.state) if each.state else "–"}</td>'
        f'<td class="number">{each.restarts:,}</td><td>{_holds(each)}</td>'
        f'<td class="number">{duration(max(0.0, now - each.last_seen)) if each.last_seen else "–"}</td></tr>'
        for name, each in workers[:_MOST_WORKERS]
    ]
    if not rows:
        return "<p>None has answered yet.</p>"
    more = len(workers) - _MOST_WORKERS
    rest = f"<p>and {more:,} more that answered later</p>" if more > 0 else ""
    heads = ["worker, the longest silent first", "finished", "a second", "state", "restarts", "works on"]
    return table([*heads, "last answer before"], rows) + rest


def _holds(worker: WorkerStatus) -> str:
    more = f" and {worker.holding - 1:,} more" if worker.holding > 1 else ""
    return f"{text(worker.sample, 80)}{more}" if worker.sample else f"{worker.holding:,}"
