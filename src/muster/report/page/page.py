"""The report as one file: what was evaluated, how good it is, what to distrust, where it is wrong, every sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.report.comparison_text import letter
from muster.report.page.charts import lanes_chart
from muster.report.page.content import Report
from muster.report.page.lengths import lengths
from muster.report.page.markup import count_of, duration, table, text
from muster.report.page.mistakes import where_wrong
from muster.report.page.samples import shards
from muster.report.page.scores import badge, distrust, scores, sentences, verdicts
from muster.report.page.shell import asset, closing, opening
from muster.report.page.timeline import MOST_LANES, OWN_COLOURS, Timeline
from muster.result_files.answers import TARGETS_JOINED

_PRINTED = 20
_MOST_TROUBLES = 12


def page(report: Report) -> Iterable[str]:
    """The file's text, in pieces."""
    script = asset("script.js")
    title = " against ".join(run.label for run in report.runs)
    home = f'<nav><a href="{text(report.home)}">all runs</a></nav>' if report.home else ""
    yield opening(title, script, served=bool(report.home))
    yield f"<header>{home}<h1>{text(title)}</h1>"
    yield from sentences(report)
    yield from verdicts(report)
    yield "</header><main>"
    yield from scores(report)
    yield from distrust(report)
    yield from where_wrong(report.aligned)
    yield _browser(report)
    yield from lengths(report)
    yield from _timelines(report)
    yield _made(report)
    for shard in shards(report.runs, report.aligned, report.letters, report.pictures):
        yield f'<script type="application/x-muster" id="{shard.id}">{shard.content}</script>\n'
    yield "</main>" + closing(script)


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
    keys = "".join(f'<tr><th scope="row"><kbd>{key}</kbd></th><td>{what}</td></tr>' for key, what in _KEYS)
    return (
        '<section><h2 id="browse">Samples</h2><div class="tools">'
        f'<label>task <select id="task"><option value="">all</option>{tasks}</select></label>{choice}'
        '<label>search <input id="q" type="search" placeholder="question, answer, reference, id"></label>'
        '<span id="shows" role="group" aria-label="filters"></span>'
        '<span id="found" role="status" class="soft"></span></div>'
        '<div class="pane"><div id="samples" tabindex="0" role="region" aria-label="samples">'
        '<div id="space"></div><div id="window"></div></div>'
        '<section id="detail" tabindex="0" hidden aria-live="polite" aria-label="one sample"></section></div>'
        '<p id="without" class="soft screen" hidden></p>'
        f'<dialog id="help" aria-label="keys"><h2>Keys</h2><table><tbody>{keys}</tbody></table>'
        '<form method="dialog"><button>close</button></form></dialog>'
        f'<div class="printed">{_printed(report)}</div></section>'
    )


def _printed(report: Report) -> str:
    """Twenty samples for paper: the first that a run has wrong."""
    lines: list[str] = []
    start = 0
    for aligned in report.aligned:
        first = aligned.tasks[0].rows
        scores = zip(*(task.rows["score"].to_pylist() for task in aligned.tasks), strict=True)
        for row, each in enumerate(scores):
            if len(lines) < _PRINTED and any(score is not None and score < 1 for score in each):
                reads = (task.rows["extracted"][row].as_py() for task in aligned.tasks)
                told = ", ".join(
                    f"{badge(run) if len(report.runs) > 1 else ''}{text(read, 80)}"
                    for run, read in enumerate(reads)
                )
                gold = (first["target"][row].as_py() or "").replace(TARGETS_JOINED, " | ")
                where = f"<b>{text(aligned.name)}/{text(first['id'][row].as_py())}</b>"
                lines.append(
                    f'<div data-row="{start + row}"><p>{where}: {told}; reference {text(gold, 80)}</p></div>'
                )
        start += len(first)
    return "".join(lines)


def _timelines(report: Report) -> Iterable[str]:
    for place, timeline in enumerate(report.timelines):
        if timeline is None:
            continue
        name = f", {letter(place)}" if len(report.runs) > 1 else ""
        again = "" if timeline.attempts == 1 else f", attempt {timeline.attempt} of {timeline.attempts}"
        failed = sum(lane.failed for lane in timeline.whole.lanes)
        lost = f"; {failed:,} requests failed" if failed else ""
        yield (
            f"<h2>The run{name}{again}</h2><p>Workers were at work {timeline.efficiency:.1%} of the time that they "
            f"were there{lost}.{_static(timeline)}{_troubles(timeline)}</p>{_tasks(timeline.tasks)}"
        )
        whole = timeline.whole
        count = f"{len(whole.lanes)} workers over {duration(whole.seconds)}"
        yield lanes_chart(whole, timeline.tasks, f"{count}, busy {timeline.efficiency:.0%} of the time")
        if len(whole.lanes) > MOST_LANES:
            told = f"The first {MOST_LANES} of {len(whole.lanes):,} workers; the rate is that of all."
            yield f'<p class="soft">{told}</p>'
        if timeline.tail is not None:
            yield f"<h3>The last 2 % of the answers, {duration(timeline.tail.seconds)}</h3>"
            yield lanes_chart(
                timeline.tail, timeline.tasks, "the same, for the last 2 % of the answers", rate=False
            )


def _static(timeline: Timeline) -> str:
    """What one queue was worth."""
    if timeline.static_seconds is None:
        return ""
    return (
        f" From the first work to the last answer: {duration(timeline.whole.seconds)}. With the samples dealt out in "
        f"equal shares beforehand the last one would have come after about {duration(timeline.static_seconds)}."
    )


def _tasks(tasks: Sequence[str]) -> str:
    """The key to the colours."""
    if len(tasks) < 2:
        return ""
    named = [
        f'<span class="key task{number}"></span>{text(task)}'
        for number, task in enumerate(tasks[:OWN_COLOURS])
    ]
    if rest := len(tasks) - OWN_COLOURS:
        named += [f'<span class="key task{OWN_COLOURS}"></span>{rest} more'] if rest > 0 else []
    return f'<p class="soft">{" ".join(named)} <span class="key"></span>idle</p>'


def _troubles(timeline: Timeline) -> str:
    shown = [text(each) for each in timeline.troubles[:_MOST_TROUBLES]]
    more = len(timeline.troubles) - len(shown)
    shown += [f"and {more:,} more"] if more > 0 else []
    return f' <span class="bad">{"; ".join(shown)}.</span>' if shown else ""


def _made(report: Report) -> str:
    names = dict.fromkeys(name for run in report.runs for name in run.settings)
    rows = []
    for name in names:
        cells = "".join(f"<td>{text(run.settings.get(name))}</td>" for run in report.runs)
        rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>')
    heads = ["setting", *report.letters] if len(report.runs) > 1 else ["setting", "value"]
    told = count_of(len(rows), "setting")
    return f"<h2>How it was made</h2><details><summary>{told}</summary>{table(heads, rows)}</details>"
