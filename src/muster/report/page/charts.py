"""Charts as SVG, drawn here: dots with intervals, lanes, a rate. Every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from muster.report.page.timeline import BINS, MOST_LANES, Timeline

_WIDTH, _HEIGHT, _PAD = 340, 14, 6


def interval_chart(
    values: Sequence[tuple[float, tuple[float, float] | None]], low: float, high: float
) -> str:
    """One row: a dot with its interval per run, on an axis from `low` to `high`."""
    span = (high - low) or 1.0
    height = _HEIGHT * len(values) + 4

    def x(value: float) -> float:
        return _PAD + (min(high, max(low, value)) - low) / span * (_WIDTH - 2 * _PAD)

    parts = [
        f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="'
        + escape("; ".join(_told(*each) for each in values))
        + '">'
    ]
    for quarter in range(5):
        at = x(low + span * quarter / 4)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height}"/>')
    for number, (value, interval) in enumerate(values):
        y = _HEIGHT * number + _HEIGHT / 2 + 2
        parts.append(f'<g class="run{number % 4}">')
        if interval is not None:
            parts.append(
                f'<line class="bar" x1="{x(interval[0]):.1f}" x2="{x(interval[1]):.1f}" y1="{y}" y2="{y}"/>'
            )
        parts.append(f'<circle class="dot" cx="{x(value):.1f}" cy="{y}" r="4"/></g>')
    return "".join([*parts, "</svg>"])


def _told(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.4f}" + (
        "" if interval is None else f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f}"
    )


def lanes_chart(timeline: Timeline) -> str:
    """A lane per worker: dark where it worked. Below it the answers per second."""
    label, row, width = 150, 16, 900
    lanes = timeline.lanes[:MOST_LANES]
    height = row * len(lanes) + 70
    each = (width - label) / BINS
    count = len(timeline.lanes)
    said = f"{count} workers over {timeline.seconds:.1f} seconds, busy {timeline.efficiency:.0%} of the time"
    parts = [f'<svg class="lanes" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(said)}">']
    for number, lane in enumerate(lanes):
        y = number * row
        name = lane.worker if len(lane.worker) <= 22 else f"{lane.worker[:21]}…"
        parts.append(f'<text x="0" y="{y + 11}">{escape(name)}</text>')
        parts.append(
            f'<rect class="idle" x="{label}" y="{y + 2}" width="{width - label}" height="{row - 4}"/>'
        )
        for begin, end, share in _stretches(lane.busy):
            parts.append(
                f'<rect class="busy" opacity="{share:.2f}" x="{label + begin * each:.1f}" y="{y + 2}" '
                f'width="{(end - begin) * each:.1f}" height="{row - 4}"/>'
            )
    base, most = height - 16, max(timeline.rate) or 1
    points = " ".join(
        f"{label + (number + 0.5) * each:.1f},{base - 40 * count / most:.1f}"
        for number, count in enumerate(timeline.rate)
    )
    peak = most * BINS / timeline.seconds
    parts.append(f'<polyline class="rate" points="{points}"/>')
    parts.append(f'<text x="0" y="{base}">answers/s, at most {peak:.1f}</text>')
    parts.append(f'<text x="{label}" y="{height - 2}">0 s</text>')
    parts.append(
        f'<text x="{width}" y="{height - 2}" text-anchor="end">{timeline.seconds:.1f} s</text></svg>'
    )
    return "".join(parts)


def _stretches(busy: Sequence[float]) -> list[tuple[int, int, float]]:
    """Bins of about the same share as one."""
    found: list[tuple[int, int, float]] = []
    for number, share in enumerate(busy):
        rounded = round(share, 1)
        if rounded <= 0:
            continue
        if found and found[-1][1] == number and found[-1][2] == rounded:
            found[-1] = (found[-1][0], number + 1, rounded)
        else:
            found.append((number, number + 1, rounded))
    return found
