"""Scores over checkpoints as charts, one a task, with the numbers below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.report.page.markup import count_of, number, table, text
from muster.report.page.shell import closing, opening
from muster.view.addresses import address
from muster.view.trends import Point, Trend

MOST_CHARTS = 12
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 520, 200, 52, 12, 10, 26
_TICKS = 4


def trends_page(
    trends: Sequence[Trend], others: Sequence[str], runs: Sequence[str], words: str
) -> Iterable[str]:
    """The page. `others`: tasks without a chart here; `runs`: those that were chosen, or all that `words` find."""
    yield opening("Trends", served=True)
    yield '<header><nav><a href="/">all runs</a></nav><h1>Scores over checkpoints</h1></header><main>'
    if not trends:
        yield "<p>None of these runs has a score yet.</p>"
    yield '<div class="beside">'
    for each in trends:
        yield _section(each)
    yield "</div>"
    if others:
        links = ", ".join(
            f'<a href="{text(address("trends", runs, q=words, task=name))}">{text(name)}</a>'
            for name in others
        )
        yield f"<p>{count_of(len(others), 'more task')}: {links}</p>"
    yield "</main>" + closing()


def _section(trend: Trend) -> str:
    x = "step" if trend.by_step else "run, by when it was started"
    unit = "" if trend.unit in ("", "0-1") else f" ({text(trend.unit)})"
    legend = ""
    if len(trend.series) > 1:
        names = (
            f'<span class="badge run{place % 4}">{place + 1}</span> {text(name or "no name", 60)}'
            for place, name in enumerate(trend.series)
        )
        more = (
            f"; {trend.left_out:,} older series are left out: search for fewer runs" if trend.left_out else ""
        )
        legend = f"<p class=soft>{' '.join(names)}{more}</p>"
    return (
        f"<section><h2>{text(trend.task)}</h2><p class=soft>{text(trend.metric)}{unit} with 95 % intervals, "
        f"by {x}</p>{legend}{_chart(trend)}{_numbers(trend)}</section>"
    )


def _chart(trend: Trend) -> str:
    points = [point for series in trend.series.values() for point in series]
    low, high = _range(points)
    left, right = min(point.x for point in points), max(point.x for point in points)

    def at(point_x: float) -> float:
        share = (point_x - left) / (right - left) if right > left else 0.5
        return _LEFT + 8 + share * (_WIDTH - _LEFT - _RIGHT - 16)

    def up(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    said = (
        f"{trend.task}: {count_of(len(points), 'run')}, from {points[0].value:.4g} to {points[-1].value:.4g}"
    )
    parts = [
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{text(said)}">'
    ]
    for tick in range(_TICKS + 1):
        value = low + (high - low) * tick / _TICKS
        y = up(value)
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_short(value, high - low)}</text>'
        )
    for x, anchor in ((left, "start"), (right, "end")) if right > left else ((left, "middle"),):
        parts.append(f'<text x="{at(x):.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{x:g}</text>')
    for place, series in enumerate(trend.series.values()):
        line = " ".join(f"{at(point.x):.1f},{up(point.value):.1f}" for point in series)
        parts.append(f'<g class="run{place % 4}"><polyline class="trend" points="{line}"/>')
        for point in series:
            here = f"{at(point.x):.1f}"
            if point.low is not None and point.high is not None:
                parts.append(
                    f'<line class="bar" x1="{here}" x2="{here}" y1="{up(point.low):.1f}" y2="{up(point.high):.1f}"/>'
                )
            parts.append(
                f'<circle class="dot" cx="{here}" cy="{up(point.value):.1f}" r="4">'
                f"<title>{text(point.run, 200)}: {point.value:.4g}</title></circle>"
            )
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _range(points: Sequence[Point]) -> tuple[float, float]:
    """All values and intervals, with a little air."""
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    low, high = min(ends), max(ends)
    air = (high - low) * 0.05 or abs(high) * 0.05 or 0.05
    return low - air, high + air


def _short(value: float, span: float) -> str:
    return f"{value:.0f}" if span > 20 else f"{value:.2f}" if span > 0.05 else f"{value:.4f}"


def _numbers(trend: Trend) -> str:
    rows = []
    for points in trend.series.values():
        for point in points:
            known = point.low is not None and point.high is not None
            interval = (point.low, point.high) if point.low is not None and point.high is not None else None
            spread = f"{point.low:.4g} – {point.high:.4g}" if known else "–"
            link = f'<a href="{text(address("report", [point.run]))}">{text(point.run, 100)}</a>'
            rows.append(
                f'<tr><td class="number">{point.x:g}</td><th scope="row">{link}</th>'
                f'<td class="number">{number(point.value, interval)}</td><td class="number">{spread}</td></tr>'
            )
    heads = ["step" if trend.by_step else "no.", "run", "score", "95 % interval"]
    return f"<details><summary>numbers</summary>{table(heads, rows, numbers=2)}</details>"
