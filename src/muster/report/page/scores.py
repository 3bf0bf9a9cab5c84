"""The first screen of a report: the sentence, the scores and their differences, what to distrust."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from muster.compare.comparison import Comparison, PairDifference, RunInTask, TaskComparison
from muster.report.comparison_text import conclusions, letter
from muster.report.page.charts import axis, difference_chart, interval_chart
from muster.report.page.content import Report
from muster.report.page.markup import count_of, duration, link, number, table, text
from muster.result_files.loaded import Headline, LoadedTask

_KINDS = (
    ("errors", "without a score", "have no score", "error"),
    ("unreadable", "not readable", "could not be read", "unread"),
    ("unfinished", "unfinished", "ended while thinking", "unfinished"),
    ("cut_off", "cut off", "were cut off at the token limit", "cut"),
)
"""What may be wrong with answers: a count of `RunInTask`, in two wordings, and the filter that shows them."""


def sentences(report: Report) -> Iterable[str]:
    """What was evaluated, one sentence a run."""
    for place, run in enumerate(report.runs):
        found = report.found[place].values()
        asked = sum(len(task.rows) for task in run.tasks.values())
        name = badge(place) if len(report.runs) > 1 else ""
        answered = link(f"{sum(each.scored for each in found):,}", run=place)
        of = f"{asked:,} questions of {count_of(len(run.tasks), 'benchmark')}"
        said = f"{name}<b>{text(run.label)}</b> answered {answered} of {of}"
        if (timeline := report.timelines[place] if report.timelines else None) is not None:
            said += (
                f" on {count_of(len(timeline.whole.lanes), 'replica')} in {duration(timeline.whole.seconds)}"
            )
        for attribute, short, _long, show in _KINDS:
            if count := sum(getattr(each, attribute) for each in found):
                said += "; " + link(f"{count:,} {short}", show=show, run=place, bad=True)
        if run.cost is not None:
            said += f"; cost {run.cost:.4g}"
        unfinished = "" if run.complete else ' <span class="bad">The run is not complete.</span>'
        where = f'<span class="soft">{text(run.path)} ({text(run.kind)})</span>'
        yield f'<p class="sentence">{said}.{unfinished}<br>{where}</p>'


def verdicts(report: Report) -> Iterable[str]:
    """What the comparison comes to, one sentence per run that is compared with the first."""
    if report.comparison is None:
        return
    for run in range(1, len(report.runs)):
        pairs = [
            pair
            for task in report.comparison.tasks
            for pair in task.differences
            if (pair.first, pair.second) == (0, run)
        ]
        better = sum(pair.differs and pair.estimate.difference > 0 for pair in pairs)
        worse = sum(pair.differs and pair.estimate.difference < 0 for pair in pairs)
        unknown = sum(not pair.estimate.pairs for pair in pairs)
        alike = len(pairs) - better - worse - unknown
        told = [f"{word} in {count}" for count, word in ((better, "better"), (worse, "worse")) if count]
        told += [f"can't be told apart in {alike}"] if alike else []
        told += [f"without a sample that both have a score for in {unknown}"] if unknown else []
        of = count_of(len(pairs), "benchmark")
        yield f'<p class="sentence">{badge(run)} against {badge(0)} is <b>{", ".join(told)}</b> of {of}.</p>'


def badge(run: int) -> str:
    """A run's letter in its colour."""
    return f'<span class="badge run{run % 4}">{letter(run)}</span> '


def scores(report: Report) -> Iterable[str]:
    """A row per task: dots with intervals, and the differences to the first run."""
    heads = ["task", "score", axis(), "value"]
    if report.comparison is not None:
        heads += ["difference", "with its 95 % interval"]
    heads.append("scoring variant")
    widest = _widest(report.comparison)
    rows = []
    for position, aligned in enumerate(report.aligned):
        shown = [
            headline(task, found[aligned.name])
            for task, found in zip(aligned.tasks, report.found, strict=True)
        ]
        top = _top(shown)
        chart = interval_chart([(each.value, each.interval) for each in shown], top)
        values = "".join(f'<div title="{text(each.value)}">{_value(each)}</div>' for each in shown)
        cells = [
            f'<th scope="row">{link(aligned.name, task=aligned.name)}</th>',
            f"<td>{text(shown[0].name)}{_unit(shown[0])}</td>",
            f"<td>{chart}</td><td class=number>{values}</td>",
        ]
        if report.comparison is not None:
            task = report.comparison.tasks[position]
            cells.append(
                f"<td>{_difference_chart(task, widest)}</td><td class=differences>{_differences(task)}</td>"
            )
        cells.append(f'<td class="soft">{text(aligned.tasks[0].scoring)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    yield "<h2>Scores</h2>" + table(heads, rows)
    lines = []
    for place, run in enumerate(report.runs):
        name = f"{badge(place)} " if len(report.runs) > 1 else ""
        for group, mean in run.groups.items():
            value = f"{number(mean.value, mean.interval)}{_spread(mean)}"
            lines.append(f"{name}group {text(group)}, {text(mean.name)}: <b>{value}</b>")
    if report.comparison is not None:
        lines += [text(line) for line in conclusions(report.comparison)]
    if lines:
        yield _list("plain", lines)


def headline(task: LoadedTask, found: RunInTask) -> Headline:
    """What stands for a task; the mean of its answers where the files say nothing."""
    if task.headline is not None:
        return task.headline
    return Headline(task.score, None if math.isnan(found.mean) else found.mean, task.unit)


def distrust(report: Report) -> Iterable[str]:
    """What makes the numbers doubtful; nothing where nothing does."""
    lines: list[str] = []
    for place, run in enumerate(report.runs):
        name = badge(place) if len(report.runs) > 1 else ""
        lines += [f"{name}{text(note)}" for note in run.notes]
        for task in run.tasks.values():
            found = report.found[place][task.name]
            lines += [f"{name}{text(task.name)}: {doubt}" for doubt in _doubts(task, found, place)]
    if report.comparison is not None:
        lines += _different_ways(report.comparison)
    if lines:
        yield f'<section class="distrust"><h2>What to distrust</h2>{_list("", lines)}</section>'


def _different_ways(comparison: Comparison) -> Iterable[str]:
    for each in comparison.settings:
        told = ", ".join(f"{badge(run)}{text(value, 300)}" for run, value in enumerate(each.values))
        yield f"{text(each.name)} differs: {told}"
    for task in comparison.tasks:
        yield from (f"{text(task.name)}: {text(remark)}" for remark in task.remarks)
        if any(task.dropped):
            shared = task.pairs + task.left_out
            yield f"{text(task.name)}: restricted to the {shared:,} samples that all runs have"
    for run, names in enumerate(comparison.missing):
        if names:
            yield f"only in {badge(run)} and not compared: {text(', '.join(names))}"


def _doubts(task: LoadedTask, found: RunInTask, run: int) -> Iterable[str]:
    for attribute, _short, told, show in _KINDS:
        if count := getattr(found, attribute):
            yield link(f"{count:,} of {len(task.rows):,} answers {told}", task=task.name, show=show, run=run)


def _list(kind: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{line}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if kind else f"<ul>{items}</ul>"


def _top(shown: Sequence[Headline]) -> float:
    """The end of the axis: 1, 100 %, as many points as there are, or the largest value."""
    known = next((each.maximum for each in shown if each.maximum), None)
    if known is not None:
        return known
    least = {"": 1.0, "0-1": 1.0, "percent": 100.0}.get(shown[0].unit, 0.0)
    ends = [end for each in shown for end in (each.value, *(each.interval or ())) if end is not None]
    return max([least, *ends]) or 1.0


def _value(shown: Headline) -> str:
    of = "" if not shown.maximum else f' <span class="soft">of {shown.maximum:g}</span>'
    return f"{number(shown.value, shown.interval)}{of}"


def _unit(shown: Headline) -> str:
    return "" if shown.unit in ("", "0-1") else f" ({text(shown.unit)})"


def _spread(shown: Headline) -> str:
    if shown.interval is None:
        return ""
    low, high = (number(each, shown.interval) for each in shown.interval)
    return f" ({low} – {high})"


def _widest(comparison: Comparison | None) -> float:
    """The end of the axis of all differences of scores from 0 to 1."""
    ends = [
        abs(end)
        for task in (comparison.tasks if comparison else ())
        for pair in task.differences
        for end in pair.estimate.interval or (pair.estimate.difference,)
        if task.unit == "0-1" and task.pairs
    ]
    return max(ends, default=0.0) or 1.0


def _difference_chart(task: TaskComparison, widest: float) -> str:
    pairs = [(pair.second, pair.estimate.difference, pair.estimate.interval) for pair in task.differences]
    if not task.pairs:
        return ""
    ends = [abs(end) for _, value, interval in pairs for end in interval or (value,)]
    return difference_chart(pairs, widest if task.unit == "0-1" else max(ends, default=0.0) or 1.0)


def _differences(task: TaskComparison) -> str:
    lines = []
    for pair in task.differences:
        told = f"{_signed(pair.estimate.difference, task.unit)}{_signed_spread(pair, task.unit)}"
        alike = ", can't be told apart" if pair.estimate.pairs else ""
        said = f"<b>{told}</b>" if pair.differs else f"{told}{alike}"
        other = f"− {badge(pair.first)}" if pair.first else ""
        lines.append(f"{badge(pair.second)}{other}{said}")
        if (pair.first, pair.second) == (0, 1):
            better = link(f"{len(pair.better):,} better", task=task.name, show="better")
            lines.append(f"{better}, {link(f'{len(pair.worse):,} worse', task=task.name, show='worse')}")
    return "<br>".join(lines)


def _signed(value: float, unit: str) -> str:
    if math.isnan(value):
        return "no sample with a score in both"
    return _minus(f"{100 * value:+.1f} points" if unit == "0-1" else f"{value:+.4g}")


def _signed_spread(pair: PairDifference, unit: str) -> str:
    if pair.estimate.interval is None:
        return ""
    scale = 100.0 if unit == "0-1" else 1.0
    low, high = (scale * each for each in pair.estimate.interval)
    return _minus(f" ({low:+.1f} … {high:+.1f})" if unit == "0-1" else f" ({low:+.4g} … {high:+.4g})")


def _minus(told: str) -> str:
    return told.replace("-", "\N{MINUS SIGN}")
