"""The report as one file: what was evaluated, how good it is, what to distrust, where it is wrong, every sample."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from muster.compare.comparison import Comparison, RunInTask, run_in_task
from muster.compare.pairing import AlignedTask
from muster.report.comparison_text import conclusions, letter
from muster.report.page.charts import interval_chart, lanes_chart
from muster.report.page.markup import duration, link, number, table, text
from muster.report.page.mistakes import where_wrong
from muster.report.page.pictures import Pictures
from muster.report.page.samples import shards
from muster.report.page.timeline import Timeline
from muster.result_files.loaded import Headline, LoadedRun, LoadedTask

_PRINTED = 20


@dataclass(frozen=True, slots=True)
class Report:
    """What a page is made of."""

    runs: Sequence[LoadedRun]
    aligned: Sequence[AlignedTask]
    pictures: Pictures
    comparison: Comparison | None = None
    """With two runs or more."""
    timelines: Sequence[Timeline | None] = field(default_factory=tuple)
    """Of each run."""

    @property
    def letters(self) -> list[str]:
        """What the runs are called in tables."""
        return [letter(run) for run in range(len(self.runs))]


def page(report: Report) -> Iterable[str]:
    """The file's text, in pieces."""
    style, script = _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = " against ".join(run.label for run in report.runs)
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)} – Muster</title><style>{style}</style></head><body><header><h1>{text(title)}</h1>"
    )
    yield from _sentences(report)
    yield "</header><main>"
    yield from _scores(report)
    yield from _distrust(report)
    yield from where_wrong(report.aligned)
    yield _browser(report)
    yield from _timelines(report)
    yield _made(report)
    for shard in shards(report.runs, report.aligned, report.letters, report.pictures):
        yield f'<script type="application/x-muster" id="{shard.id}">{shard.content}</script>\n'
    yield f"</main><script>{script}</script></body></html>\n"


_KINDS = (
    ("errors", "without a score", "have no score", "error"),
    ("unreadable", "not readable", "could not be read", "unread"),
    ("unfinished", "unfinished", "ended while thinking", "unfinished"),
    ("cut_off", "cut off", "were cut off at the token limit", "cut"),
)
"""What may be wrong with answers: a count of `RunInTask`, in two wordings, and the filter that shows them."""


def _sentences(report: Report) -> Iterable[str]:
    for place, run in enumerate(report.runs):
        found = [run_in_task(task) for task in run.tasks.values()]
        asked = sum(len(task.rows) for task in run.tasks.values())
        name = f"<b>{letter(place)}</b> " if len(report.runs) > 1 else ""
        answered = link(f"{sum(each.scored for each in found):,}", run=place)
        benchmarks = f"{len(run.tasks)} benchmark{'' if len(run.tasks) == 1 else 's'}"
        said = f"{name}{text(run.label)} answered {answered} of {asked:,} questions of {benchmarks}"
        if (timeline := report.timelines[place] if report.timelines else None) is not None:
            lanes = len(timeline.lanes)
            said += f" on {lanes} replica{'' if lanes == 1 else 's'} in {duration(timeline.seconds)}"
        for attribute, short, _long, show in _KINDS:
            if count := sum(getattr(each, attribute) for each in found):
                said += "; " + link(f"{count:,} {short}", show=show, run=place, bad=True)
        unfinished = "" if run.complete else ' <span class="bad">The run is not complete.</span>'
        yield f'<p class="sentence">{said}.{unfinished}</p><p class="soft">{text(run.path)} ({text(run.kind)})</p>'


def _scores(report: Report) -> Iterable[str]:
    heads = ["task", "score", "0 … 1 (or the largest), 95 % interval", "value", "scoring variant"]
    if report.comparison is not None:
        heads.append("difference to A")
    rows = []
    for position, aligned in enumerate(report.aligned):
        shown = [_headline(task) for task in aligned.tasks]
        known = [(each.value, each.interval) for each in shown if each.value is not None]
        ends = [end for value, interval in known for end in (value, *(interval or ()))]
        chart = interval_chart(known, min([0.0, *ends]), max([1.0, *ends])) if known else "–"
        unit = f" ({text(shown[0].unit)})" if shown[0].unit not in ("", "0-1") else ""
        values = "<br>".join(
            f'<span title="{text(each.value)}">{number(each.value, each.interval)}</span>' for each in shown
        )
        differences = (
            "" if report.comparison is None else f"<td>{_differences(report.comparison, position)}</td>"
        )
        rows.append(
            f'<tr><th scope="row">{link(aligned.name, task=aligned.name)}</th><td>{text(shown[0].name)}{unit}</td>'
            f'<td>{chart}</td><td>{values}</td><td class="soft">{text(aligned.tasks[0].scoring)}</td>{differences}</tr>'
        )
    yield "<h2>Scores</h2>" + table(heads, rows)
    for place, run in enumerate(report.runs):
        name = f"{letter(place)}, " if len(report.runs) > 1 else ""
        for group, headline in run.groups.items():
            yield f"<p>{name}group {text(group)}: {number(headline.value, headline.interval)}{_spread(headline)}</p>"
    for line in conclusions(report.comparison) if report.comparison is not None else ():
        yield f"<p>{text(line)}</p>"


def _headline(task: LoadedTask) -> Headline:
    if task.headline is not None:
        return task.headline
    mean = run_in_task(task).mean
    return Headline(task.score, None if math.isnan(mean) else mean, task.unit)


def _spread(headline: Headline) -> str:
    return "" if headline.interval is None else " ({:.4f} – {:.4f})".format(*headline.interval)


def _differences(comparison: Comparison, position: int) -> str:
    task = comparison.tasks[position]
    lines = []
    for pair in task.differences:
        interval = pair.estimate.interval
        spread = "" if interval is None else " ({:+.4f} … {:+.4f})".format(*interval)
        apart = "" if pair.differs else ", can't be told apart"
        lines.append(f"{letter(pair.second)} {pair.estimate.difference:+.4f}{spread}{apart}")
        if pair.second == 1:
            better = link(f"{len(pair.better):,} better", task=task.name, show="better")
            lines.append(f"{better}, {link(f'{len(pair.worse):,} worse', task=task.name, show='worse')}")
    return "<br>".join(lines)


def _distrust(report: Report) -> Iterable[str]:
    lines: list[str] = []
    for place, run in enumerate(report.runs):
        name = f"{letter(place)}: " if len(report.runs) > 1 else ""
        lines += [f"{name}{text(note)}" for note in run.notes]
        for task in run.tasks.values():
            lines += [
                f"{name}{text(task.name)}: {doubt}" for doubt in _doubts(task, run_in_task(task), place)
            ]
    if report.comparison is not None:
        for each in report.comparison.settings:
            values = zip(report.letters, each.values, strict=True)
            told = ", ".join(f"{label} {text(value)}" for label, value in values)
            lines.append(f"{text(each.name)} differs: {told}")
        for compared in report.comparison.tasks:
            lines += [f"{text(compared.name)}: {text(remark)}" for remark in compared.remarks]
            if any(compared.dropped):
                shared = compared.pairs + compared.left_out
                lines.append(
                    f"{text(compared.name)}: restricted to the {shared:,} samples that all runs have"
                )
    if lines:
        yield (
            '<h2>What to distrust</h2><ul class="distrust">'
            + "".join(f"<li>{each}</li>" for each in lines)
            + "</ul>"
        )


def _doubts(task: LoadedTask, found: RunInTask, run: int) -> Iterable[str]:
    for attribute, _short, told, show in _KINDS:
        if count := getattr(found, attribute):
            yield link(f"{count:,} of {len(task.rows):,} answers {told}", task=task.name, show=show, run=run)


_KEYS = (
    ("j k ← →", "next and previous sample"),
    ("/", "search"),
    ("1 … 9", "which run the filters are about"),
    ("w u e", "wrong, not readable, without a score"),
    ("d D", "worse in B, better in B"),
    ("Esc", "clear"),
    ("?", "this"),
)


def _browser(report: Report) -> str:
    tasks = "".join(
        f'<option value="{text(task.name)}">{text(task.name)}</option>' for task in report.aligned
    )
    runs = "".join(
        f'<option value="{place or ""}">{letter(place)}: {text(run.label)}</option>'
        for place, run in enumerate(report.runs)
    )
    choice = f'<label>run <select id="run">{runs}</select></label>' if len(report.runs) > 1 else ""
    keys = "".join(f"<tr><td><kbd>{key}</kbd></td><td>{what}</td></tr>" for key, what in _KEYS)
    return (
        '<h2 id="browse">Samples</h2><div class="tools">'
        f'<label>task <select id="task"><option value="">all</option>{tasks}</select></label>{choice}'
        '<label>search <input id="q" type="search" placeholder="question, answer, reference, id"></label>'
        '<span id="shows" role="group" aria-label="filters"></span>'
        '<span id="found" role="status" class="soft"></span></div>'
        '<div id="samples" tabindex="0" role="region" aria-label="samples">'
        '<div id="space"></div><div id="window"></div></div><p id="without" class="soft screen" hidden></p>'
        '<section id="detail" hidden aria-live="polite" aria-label="one sample"></section>'
        f'<dialog id="help" aria-label="keys"><h2>Keys</h2><table>{keys}</table>'
        '<form method="dialog"><button>close</button></form></dialog>'
        f'<div class="printed">{_printed(report)}</div>'
    )


def _printed(report: Report) -> str:
    """Twenty samples for paper: the first wrong ones."""
    lines: list[str] = []
    for aligned in report.aligned:
        rows = aligned.tasks[0].rows
        columns = (rows[name].to_pylist() for name in ("id", "score", "target", "extracted"))
        for sample, score, gold, read in zip(*columns, strict=True):
            if score is not None and score < 1 and len(lines) < _PRINTED:
                where = f"{text(aligned.name)}/{text(sample)}"
                lines.append(f"<p><b>{where}</b>: {text(read, 80)} instead of {text(gold, 80)}</p>")
    return "".join(lines)


def _timelines(report: Report) -> Iterable[str]:
    for place, timeline in enumerate(report.timelines):
        if timeline is None:
            continue
        name = f", {letter(place)}" if len(report.runs) > 1 else ""
        again = "" if timeline.attempts == 1 else f", attempt {timeline.attempt} of {timeline.attempts}"
        failed = sum(lane.failed for lane in timeline.lanes)
        lost = f"; {failed:,} requests failed" if failed else ""
        yield (
            f"<h2>The run{name}{again}</h2><p>Workers were at work {timeline.efficiency:.1%} of the time that they "
            f"were there{lost}.</p>{lanes_chart(timeline)}"
        )


def _made(report: Report) -> str:
    names = dict.fromkeys(name for run in report.runs for name in run.settings)
    rows = []
    for name in names:
        cells = "".join(f"<td>{text(run.settings.get(name))}</td>" for run in report.runs)
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    return "<h2>How it was made</h2>" + table(["setting", *report.letters], rows)


def _asset(name: str) -> str:
    return (files("muster.report.page") / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
