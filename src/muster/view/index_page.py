"""The list of runs: search, sort, a task's scores, and which are chosen for comparing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from muster.report.page.charts import axis, interval_chart
from muster.report.page.markup import count_of, number, table, text
from muster.report.page.shell import asset, closing, opening
from muster.view.addresses import address
from muster.view.selection import (
    PER_PAGE,
    SCORE,
    Query,
    matching,
    on_page,
    ordered,
    score_for,
    tasks_of,
)
from muster.view.summary import BROKEN, Score, Summary

_SHOWN = 3
"""Scores of a run without a chosen task."""
_COLUMNS = (("run", "run"), ("model", "name or model"), ("state", "state"), ("started", "started"),
            ("answers", "answers"), ("errors", "errors"))  # fmt: skip


def index_page(folder: str, runs: Sequence[Summary], query: Query) -> Iterable[str]:
    """The page, in pieces."""
    script = asset("view.js")
    found = ordered(matching(runs, query), query)
    yield opening(f"Runs in {folder}", script, served=True)
    yield f'<header><h1>{text(Path(folder).name)}</h1><p class="soft">{text(folder)}</p></header><main>'
    yield _search(runs, query)
    yield _told(found, runs, query)
    yield '<form id="basket" action="/compare" method="get">'
    yield (
        '<p class="tools"><span id="chosen" role="status">'
        "Choose runs to compare them; the first is the baseline.</span>"
        '<span id="kept"></span> <button>compare</button> <button formaction="/trends">trends</button> '
        '<button type="button" id="clear" hidden>clear</button></p>'
    )
    running = any(run.state == "running" for run in on_page(found, query))
    yield f'<div id="live"{" data-every=5" if running else ""}>{_table(found, query)}</div></form>'
    yield _pages(len(found), query)
    yield "</main>" + closing(script)


def _search(runs: Sequence[Summary], query: Query) -> str:
    options = "".join(
        f'<option value="{text(name)}"{" selected" if name == query.task else ""}>{text(name)}</option>'
        for name in tasks_of(runs)
    )
    order = "" if query.descending else '<input type="hidden" name="order" value="asc">'
    return (
        '<form class="tools" role="search" method="get" action="/">'
        f'<label>search <input type="search" name="q" value="{text(query.words)}"></label> '
        f'<label>task or group <select name="task"><option value="">any</option>{options}</select></label> '
        f'<input type="hidden" name="sort" value="{text(query.sort)}">{order}<button>show</button></form>'
    )


def _told(found: Sequence[Summary], runs: Sequence[Summary], query: Query) -> str:
    asked = sum(run.requested for run in runs)
    twin = f'<a href="/index.json?{text(query.address(page=query.page))}">as JSON</a>'
    which = f"{len(found):,} of " if len(found) != len(runs) else ""
    newest = address("trends", q=query.words, task=query.task)
    return (
        f'<p class="soft">{which}{count_of(len(runs), "run")}, {count_of(asked, "question")} in all · '
        f'<a href="{text(newest)}">trends of these</a> · {twin}</p>'
    )


def _table(found: Sequence[Summary], query: Query) -> str:
    heads = [
        '<span class="unseen">chosen</span>',
        *(_sorting(name, shown, query) for name, shown in _COLUMNS),
    ]
    shown = on_page(found, query)
    top = _top(found, query.task)
    if query.task:
        heads += [_sorting(SCORE, query.task, query), axis()]
    else:
        heads.append("scores")
    return table(heads, [_row(run, query, top) for run in shown])


def _sorting(name: str, shown: str, query: Query) -> str:
    chosen = query.sort == name
    descending = not query.descending if chosen else name not in ("run", "model", "state")
    mark = (" ↓" if query.descending else " ↑") if chosen else ""
    said = f" (sorted {'down' if query.descending else 'up'})" if chosen else ""
    target = text(query.address(sort=name, descending=descending))
    return f'<a href="/?{target}" aria-label="sort by {text(shown)}{said}">{text(shown)}{mark}</a>'


def _row(run: Summary, query: Query, top: float) -> str:
    name = text(run.name)
    page = "run" if run.state == "running" else "report"
    box = f'<input type="checkbox" name="run" value="{name}" aria-label="choose {name}">'
    link = f'<a class="when" href="{text(address(page, [run.name]))}">{text(run.name, 80)}</a>'
    errors = f'<span class="bad">{run.errored:,}</span>' if run.errored else "0"
    cells = [
        f'<td>{box}</td><th scope="row">{link}</th>',
        f"<td>{text(run.label, 80)}</td><td>{_state(run)}</td>",
        f'<td class="when">{_when(run.created)}</td>',
        f"<td>{_answers(run)}</td><td>{errors}</td>",
    ]
    if query.task:
        score = score_for(run, query.task)
        cells.append(f"<td>{_value(score)}</td><td>{_chart(score, top)}</td>")
    else:
        cells.append(f"<td>{_scores(run)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _state(run: Summary) -> str:
    if run.state == BROKEN:
        return f'<span class="bad" title="{text(run.problem)}">{BROKEN}</span>'
    return f'<span class="state {run.state}">{run.state}</span>'


def _answers(run: Summary) -> str:
    if run.state == "running":
        share = run.answered / run.requested if run.requested else 0.0
        return f"{run.answered:,} of {run.requested:,} ({share:.0%})"
    return (
        f"{run.answered:,}"
        if run.answered + run.errored >= run.requested
        else f"{run.answered:,} of {run.requested:,}"
    )


def _scores(run: Summary) -> str:
    both = [*run.groups.items(), *run.scores.items()]
    shown = " · ".join(f"{text(name, 40)} <b>{_value(score)}</b>" for name, score in both[:_SHOWN])
    return shown + (f" · {len(both) - _SHOWN} more" if len(both) > _SHOWN else "")


def _value(score: Score | None) -> str:
    if score is None:
        return "–"
    return f'<span title="{text(score.metric)} {text(score.value)}">{number(score.value, _interval(score))}</span>'


def _chart(score: Score | None, top: float) -> str:
    return "" if score is None else interval_chart([(score.value, _interval(score))], top)


def _interval(score: Score) -> tuple[float, float] | None:
    return None if score.low is None or score.high is None else (score.low, score.high)


def _top(found: Sequence[Summary], task: str) -> float:
    scores = [score for run in found if task and (score := score_for(run, task)) is not None]
    ends = [each for score in scores for each in (score.value, score.high, score.maximum) if each is not None]
    units = {score.unit for score in scores}
    least = 1.0 if units <= {"0-1", ""} else 100.0 if units == {"percent"} else 0.0
    return max([least, *ends]) or 1.0


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}" if seconds else "–"


def _pages(count: int, query: Query) -> str:
    last = -(-count // PER_PAGE)
    if last < 2:
        return ""
    links = []
    if query.page > 1:
        links.append(f'<a href="/?{text(query.address(page=query.page - 1))}">previous</a>')
    if query.page < last:
        links.append(f'<a href="/?{text(query.address(page=query.page + 1))}">next</a>')
    return f'<nav aria-label="pages"><p>page {query.page} of {last} {" ".join(links)}</p></nav>'
