"""How long answers are and took: a histogram a run, and the longest by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from muster.report.page.content import Report
from muster.report.page.markup import link, table, text
from muster.report.page.scores import badge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BINS, _WIDTH, _HEIGHT = 24, 240, 44
_LONGEST = 5


class _Kind(NamedTuple):
    column: str
    title: str
    form: str


_KINDS = (
    _Kind("tokens", "tokens of an answer", "{:,.0f}"),
    _Kind("seconds", "seconds for an answer", "{:,.3f}"),
)


def lengths(report: Report) -> Iterable[str]:
    """The section; nothing where the files say neither tokens nor seconds."""
    rows = [
        _row(report, run, kind, values, names)
        for kind in _KINDS
        for run in range(len(report.runs))
        for values, names in [_of(report, run, kind.column)]
        if len(values)
    ]
    if rows:
        heads = ["what", "how many are how long", "median", "99th percentile", "all", "the longest"]
        yield "<h2>Tokens and times</h2>" + table(heads, rows)


def _of(report: Report, run: int, column: str) -> tuple[NDArray[np.float64], list[tuple[float, str]]]:
    """The known values, and the longest with their samples, as the address of the page names them."""
    import numpy as np

    values: list[NDArray[np.float64]] = []
    names: list[tuple[float, str]] = []
    for aligned in report.aligned:
        rows = aligned.tasks[run].rows
        found = rows[column].to_numpy(zero_copy_only=False).astype(np.float64)
        known = np.flatnonzero(~np.isnan(found))
        values.append(found[known])
        order = known[np.argsort(-found[known], kind="stable")[:_LONGEST]]
        for place in order.tolist():
            repeat = rows["repeat"][place].as_py()
            sample = rows["id"][place].as_py() + (f"#{repeat}" if repeat else "")
            names.append((float(found[place]), f"{aligned.name}/{sample}"))
    names.sort(key=lambda each: -each[0])
    return np.concatenate(values) if values else np.empty(0), names[:_LONGEST]


def _row(
    report: Report, run: int, kind: _Kind, values: NDArray[np.float64], longest: Sequence[tuple[float, str]]
) -> str:
    import numpy as np

    name = badge(run) if len(report.runs) > 1 else ""
    median, high = np.quantile(values, (0.5, 0.99)).tolist()
    links = "<br>".join(
        link(sample if len(sample) < 50 else f"{sample[:49]}…", s=sample, title=kind.form.format(value))
        for value, sample in longest
        if value > high
    )
    middle, tail, total = (kind.form.format(each) for each in (median, high, values.sum()))
    return (
        f'<tr><th scope="row">{name}{kind.title}</th><td>{_histogram(values, kind)}</td><td>{middle}</td>'
        f"<td>{tail}</td><td>{total}</td><td>{links}</td></tr>"
    )


def _histogram(values: NDArray[np.float64], kind: _Kind) -> str:
    """Counts by length on an even axis from 0 to the longest; their height by the square root, so that one is seen."""
    import numpy as np

    top = max(0.0, float(values.max()))
    counts, _ = np.histogram(np.clip(values, 0.0, top), _BINS, (0.0, top or 1.0))
    most = int(counts.max())
    wide = _WIDTH / _BINS
    longest = kind.form.format(top)
    said = text(f"{kind.title}: {len(values):,} from 0 to {longest}")
    bars = "".join(
        f'<rect class="busy" x="{place * wide:.1f}" y="{_HEIGHT - height:.1f}" width="{wide - 1:.1f}" '
        f'height="{height:.1f}"><title>{count:,}</title></rect>'
        for place, count in enumerate(counts.tolist())
        if count
        for height in [_HEIGHT * (count / most) ** 0.5]
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT + 14}" viewBox="0 0 {_WIDTH} {_HEIGHT + 14}" role="img" '
        f'aria-label="{said}">{bars}<text x="0" y="{_HEIGHT + 12}">0</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{longest}</text></svg>'
    )
