"""Charts as SVG, drawn here: dots with intervals, lanes, a rate. Every text in them is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from muster.core.text import printable
from muster.report.page.timeline import BINS, MOST_LANES, OWN_COLOURS, Window

_WIDTH, _HEIGHT, _PAD = 260, 20, 8
_NARROW = 160
Interval = tuple[float, float]


def axis() -> str:
    """What stands above the charts of `interval_chart`: its ends, for a screen and for a reader of it."""
    middle = _WIDTH / 2
    return (
        f'<svg width="{_WIDTH}" height="14" viewBox="0 0 {_WIDTH} 14" role="img" aria-label="from 0 to the best '
        'possible, with 95 % intervals">'
        f'<text x="{_PAD}" y="11" text-anchor="middle">0</text>'
        f'<text x="{middle}" y="11" text-anchor="middle">95 % interval</text>'
        f'<text x="{_WIDTH}" y="11" text-anchor="end">best</text></svg>'
    )


def interval_chart(values: Sequence[tuple[float | None, Interval | None]], top: float) -> str:
    """A dot with its interval per run, one below the other, on an axis from 0 to `top`."""
    lowest = min([0.0, *(low for _, interval in values if interval for low in interval)])
    marks = [(run, value, interval) for run, (value, interval) in enumerate(values) if value is not None]
    quarters = [lowest + (top - lowest) * each / 4 for each in range(5)]
    return _dots(marks, len(values), (lowest, top), quarters, _WIDTH, "{:.4f}")


def difference_chart(values: Sequence[tuple[int, float, Interval | None]], widest: float) -> str:
    """A dot with its interval per run and difference, on an axis from minus `widest` to plus `widest`."""
    return _dots(values, len(values), (-widest, widest), [0.0], _NARROW, "{:+.4f}")


def _dots(
    marks: Sequence[tuple[int, float, Interval | None]],
    rows: int,
    ends: Interval,
    ticks: Sequence[float],
    width: int,
    form: str,
) -> str:
    low, high = ends
    span = (high - low) or 1.0
    height = _HEIGHT * rows

    def x(value: float) -> float:
        return _PAD + (min(high, max(low, value)) - low) / span * (width - 2 * _PAD)

    said = escape("; ".join(_told(value, interval, form) for _, value, interval in marks) or "no score")
    parts = [
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-label="{said}">',
        f"<title>{said}</title>",
    ]
    parts += [f'<line class="axis" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height}"/>' for at in ticks]
    for row, (run, value, interval) in enumerate(marks):
        y = _HEIGHT * (row if rows == len(marks) else run) + _HEIGHT / 2
        parts.append(f'<g class="run{run % 4}">')
        if interval is not None:
            begin, end = map(x, interval)
            parts.append(f'<line class="bar" x1="{begin:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{y}" r="4"/></g>')
    return "".join([*parts, "</svg>"])


def _told(value: float, interval: Interval | None, form: str) -> str:
    told = form.format(value)
    return told if interval is None else f"{told}, 95 % interval {form} to {form}".format(*interval)


def colour_of(task: str, tasks: Sequence[str]) -> int:
    """The number of a task's colour; the last one is that of all which have none of their own."""
    return min(tasks.index(task), OWN_COLOURS)


def lanes_chart(window: Window, tasks: Sequence[str], said: str, *, rate: bool = True) -> str:
    """A lane per worker, coloured by task where it worked, grey where not. Below it the answers per second (`rate`).

    `tasks`: as a timeline has them. `said`: the chart in words.
    """
    label, row, width = 150, 16, 900
    lanes = window.lanes[:MOST_LANES]
    height = row * len(lanes) + (70 if rate else 20)
    each = (width - label) / BINS
    parts = [f'<svg class="lanes" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for number, lane in enumerate(lanes):
        y = number * row
        worker = printable(lane.worker)
        name = worker if len(worker) <= 18 else f"{worker[:17]}…"
        again = f" ↻{lane.restarts}" if lane.restarts else ""
        parts.append(f'<text x="0" y="{y + 11}">{escape(name + again)}</text>')
        parts.append(
            f'<rect class="idle" x="{label}" y="{y + 2}" width="{width - label}" height="{row - 4}"/>'
        )
        for task, begin, end, share in _stretches(lane.busy):
            parts.append(
                f'<rect class="task{colour_of(task, tasks)}" opacity="{share:.2f}" '
                f'x="{label + begin * each:.1f}" y="{y + 2}" '
                f'width="{(end - begin) * each:.1f}" height="{row - 4}"/>'
            )
        if lane.gone:
            at = label + min(1.0, lane.last / window.seconds) * (width - label - 10)
            parts.append(f'<text class="gone" x="{at:.1f}" y="{y + 12}">✗</text>')
    if rate:
        base, most = height - 16, max(window.rate) or 1
        points = " ".join(
            f"{label + (number + 0.5) * each:.1f},{base - 40 * count / most:.1f}"
            for number, count in enumerate(window.rate)
        )
        peak = most * BINS / window.seconds
        parts.append(f'<polyline class="rate" points="{points}"/>')
        parts.append(f'<text x="0" y="{base}">answers/s, at most {peak:.1f}</text>')
    parts.append(f'<text x="{label}" y="{height - 2}">{window.begin:.1f} s</text>')
    over = window.begin + window.seconds
    parts.append(f'<text x="{width}" y="{height - 2}" text-anchor="end">{over:.1f} s</text></svg>')
    return "".join(parts)


def _stretches(busy: Sequence[Mapping[str, float]]) -> list[tuple[str, int, int, float]]:
    """Task, first and last bin, share: bins of about the same share of one task (that which had most of it) as one."""
    found: list[tuple[str, int, int, float]] = []
    for number, shares in enumerate(busy):
        rounded = round(min(1.0, sum(shares.values())), 1)
        if rounded <= 0:
            continue
        task = max(shares, key=lambda name: shares[name])
        if found and (found[-1][0], *found[-1][2:]) == (task, number, rounded):
            found[-1] = (task, found[-1][1], number + 1, rounded)
        else:
            found.append((task, number, number + 1, rounded))
    return found
