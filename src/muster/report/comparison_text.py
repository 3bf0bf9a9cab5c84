"""A comparison for the terminal: what differs in how the runs were made, then the tasks, then what it comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from muster.compare.comparison import Comparison, PairDifference, PooledDifference, TaskComparison
from muster.compare.settings import SettingDifference

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SHOWN_SETTINGS = 20


def comparison_text(comparison: Comparison, *, flips: int) -> RenderableType:
    """All of it, for `Console.print`; `flips` samples are named per direction and difference."""
    parts: list[RenderableType] = [_runs(comparison), *_settings(comparison), _tasks(comparison)]
    if any(task.differences and task.differences[0].categories for task in comparison.tasks):
        parts.append(_categories(comparison))
    parts += [Text(line) for line in (*conclusions(comparison), *_remarks(comparison))]
    parts += [Text(line) for line in _flips(comparison, flips)]
    return Group(*parts)


def letter(run: int) -> str:
    """What a run is called in tables: A, B, …"""
    return _LETTERS[run] if run < len(_LETTERS) else f"R{run + 1}"


def conclusions(comparison: Comparison) -> list[str]:
    """What can be said, in sentences."""
    tests = sum(len(task.differences) for task in comparison.tasks)
    lines = []
    for task in comparison.tasks:
        for pair in task.differences:
            if pair.differs:
                word = "better" if pair.estimate.difference > 0 else "worse"
                size = _points(abs(pair.estimate.difference), task.unit)
                chance = f"p = {_p(pair.p_adjusted)}" + (f" after Holm over {tests}" if tests > 1 else "")
                lines.append(
                    f"{task.name}: {letter(pair.second)} is {word} than {letter(pair.first)} by {size} ({chance})."
                )
    tied: dict[tuple[int, ...], list[str]] = {}
    for task in comparison.tasks:
        for runs in task.tied:
            tied.setdefault(tuple(sorted(runs)), []).append(task.name)
    for runs, tasks in tied.items():
        where = _listed(tasks) if len(tasks) <= 8 else f"{_listed([*tasks[:7], f'{len(tasks) - 7} more'])}"
        lines.append(f"{_listed([letter(run) for run in runs])} can't be told apart in {where}.")
    return lines


def _runs(comparison: Comparison) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for number, (label, path, kind) in enumerate(
        zip(comparison.labels, comparison.paths, comparison.kinds, strict=True)
    ):
        table.add_row(Text(letter(number), style="bold"), Text(label), Text(f"{path} ({kind})", style="dim"))
        for note in comparison.notes[number]:
            table.add_row("", Text(note, style="yellow"), "")
    return table


def _settings(comparison: Comparison) -> list[RenderableType]:
    if not comparison.settings:
        return [Text("\nNo setting differs that the files know of.")]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("how they were made differs")
    for number in range(len(comparison.labels)):
        table.add_column(letter(number), overflow="fold")
    for each in comparison.settings[:_SHOWN_SETTINGS]:
        table.add_row(Text(_setting(each)), *(Text(value) for value in each.values))
    more = len(comparison.settings) - _SHOWN_SETTINGS
    lines: list[RenderableType] = [Padding(table, (1, 0, 0, 0))]
    return [*lines, Text(f"… and {more} more (--json has them all)")] if more > 0 else lines


def _setting(each: SettingDifference) -> str:
    return f"{each.name} ({len(each.tasks)} tasks)" if len(each.tasks) > 1 else each.name


def _tasks(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("task", style="bold")
    for number in range(len(comparison.labels)):
        table.add_column(letter(number), justify="right", no_wrap=True)
    for title in ("difference", "95 % interval", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("better / worse", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("visible from", justify="right", no_wrap=True)
    many = len(comparison.labels) > 2
    for task in comparison.tasks:
        for row, pair in enumerate(task.differences):
            means = [_number(run.mean) if row == 0 else "" for run in task.runs]
            table.add_row(Text(task.name if row == 0 else ""), *means, *_difference(task, pair, named=many))
    for pooled in comparison.pooled:
        table.add_row(*_pooled(comparison, pooled, named=many), style="italic")
    return table


def _difference(task: TaskComparison, pair: PairDifference, *, named: bool) -> list[RenderableType]:
    name = f"{letter(pair.second)} − {letter(pair.first)}  " if named else ""
    samples = f"{task.pairs:,}" if task.clusters == task.pairs else f"{task.pairs:,} in {task.clusters:,}"
    return [
        Text(name + _signed(pair.estimate.difference), style="bold" if pair.differs else ""),
        Text(_interval(pair.estimate.interval)),
        Text(_p(pair.p_adjusted)),
        Text(f"{len(pair.better):,} / {len(pair.worse):,}"),
        Text(samples),
        Text("" if pair.smallest is None else f"±{_number(pair.smallest)}"),
    ]


def _pooled(comparison: Comparison, pooled: PooledDifference, *, named: bool) -> list[RenderableType]:
    name = f"{letter(pooled.second)} − {letter(pooled.first)}  " if named else ""
    by = "each task the same" if pooled.weights == "tasks" else "by samples"
    blank = [Text("") for _ in comparison.labels]
    return [
        Text(f"all, {by}"), *blank, Text(name + _signed(pooled.difference)), Text(_interval(pooled.interval)),
        Text(""), Text(""), Text(""), Text(""),
    ]  # fmt: skip


def _categories(comparison: Comparison) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, title="by category", title_justify="left"
    )
    for title in ("task", "category"):
        table.add_column(title)
    for title in ("pair", "first", "second", "difference", "95 % interval", "samples"):
        table.add_column(title, justify="right", no_wrap=True)
    for task in comparison.tasks:
        for pair in task.differences:
            for each in pair.categories:
                table.add_row(
                    Text(task.name),
                    Text(f"{each.key}: {each.value}"),
                    f"{letter(pair.second)} − {letter(pair.first)}",
                    _number(each.first),
                    _number(each.second),
                    _signed(each.estimate.difference),
                    _interval(each.estimate.interval),
                    f"{each.estimate.pairs:,}",
                )
    return table


def _remarks(comparison: Comparison) -> list[str]:
    lines = []
    for task in comparison.tasks:
        lines += [f"{task.name}: {remark}" for remark in task.remarks]
        if task.left_out:
            lines.append(f"{task.name}: {task.left_out:,} samples left out, for which a run has no score")
        if any(task.dropped):
            by_run = ", ".join(f"{letter(run)} {count:,}" for run, count in enumerate(task.dropped))
            lines.append(f"{task.name}: restricted to the samples that all runs have; left out: {by_run}")
        for run, each in enumerate(task.runs):
            kinds = (
                (each.unreadable, "not readable"),
                (each.unfinished, "unfinished"),
                (each.cut_off, "cut off"),
                (each.errors, "without a score"),
            )
            if told := [f"{count:,} {what}" for count, what in kinds if count]:
                lines.append(f"{task.name}, {letter(run)}: {', '.join(told)}")
    for run, names in enumerate(comparison.missing):
        if names:
            lines.append(
                f"only in {letter(run)}, or without scores there, and not compared: {', '.join(names)}"
            )
    lines += _used(comparison)
    return lines


def _used(comparison: Comparison) -> list[str]:
    lines = []
    for run, cost in enumerate(comparison.costs):
        tokens = sum(task.runs[run].tokens or 0 for task in comparison.tasks)
        seconds = sum(task.runs[run].seconds or 0.0 for task in comparison.tasks)
        told = [f"{tokens:,} tokens" if tokens else "", f"{seconds:,.1f} s of work" if seconds else ""]
        told.append("" if cost is None else f"cost {cost:.4g}")
        if any(told):
            lines.append(f"{letter(run)} used {', '.join(filter(None, told))}")
    return lines


def _flips(comparison: Comparison, count: int) -> list[str]:
    lines = []
    for task in comparison.tasks if count else ():
        for pair in task.differences:
            for ids, word in ((pair.worse, "worse"), (pair.better, "better")):
                if ids:
                    more = f" … ({len(ids):,})" if len(ids) > count else ""
                    lines.append(
                        f"{task.name}, {word} in {letter(pair.second)}: {', '.join(ids[:count])}{more}"
                    )
    return ["", *lines] if lines else []


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{_signed(interval[0])} … {_signed(interval[1])}"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _points(value: float, unit: str) -> str:
    return f"{100 * value:.1f} points" if unit == "0-1" else _number(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def _signed(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:+.4f}" if abs(value) < 10 else f"{value:+.1f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
