"""Scores as rows: for a table of a breakdown, for Markdown and for CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from muster.core.text import printable
from muster.report.terminal import interval_text, unit_of, value_text
from muster.results.results import Breakdown, MetricResult, Metrics, Results

_TITLES = ("task", "scoring variant", "by", "category", "metric", "value", "95 % interval", "unit", "n")
COLUMNS = (
    "task", "scoring", "by", "category", "metric", "value", "ci95_low", "ci95_high", "stderr", "unit", "maximum", "n",
)  # fmt: skip
_NUMBERS = frozenset({"value", "95 % interval", "n"})


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One score."""

    task: str
    """Or a group of tasks."""
    scoring: str
    """The scoring variant; empty for groups."""
    by: str
    """The metadata key that it is broken down by; empty for a whole task."""
    category: str
    metric: str
    result: MetricResult

    def cells(self) -> tuple[str | float | None, ...]:
        """By `COLUMNS`; numbers unrounded, None for what isn't known or doesn't apply."""
        result = self.result
        low, high = result.ci95 or (None, None)
        return (
            *(self.task, self.scoring or None, self.by or None, self.category or None, self.metric),
            *(result.value, low, high, result.stderr, result.unit, result.maximum or None, result.n),
        )


def score_rows(results: Results, by: Sequence[str] = ()) -> list[ScoreRow]:
    """Every score of every task and group; with `by` the headline score of each value of these metadata keys."""
    rows: list[ScoreRow] = []
    for name, task in results.tasks.items():
        scored = [(task.metric_variant, task.primary, task.metrics, task.by)]
        scored += [(variant, each.primary, each.metrics, each.by) for variant, each in task.variants.items()]
        for variant, primary, metrics, breakdown in scored:
            rows += (
                _by_category(name, variant, primary, breakdown, by)
                if by
                else _whole(name, variant, primary, metrics)
            )
    if not by:
        for name, group in results.groups.items():
            rows += _whole(name, "", "", group.metrics)
    return rows


def breakdown_table(rows: Sequence[ScoreRow]) -> Table:
    """The rows for a terminal. Columns that say the same in all rows (one scoring variant) are left out."""
    titles, lines = _lines(rows)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in _NUMBERS else "left", no_wrap=title != "category")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def as_markdown(rows: Sequence[ScoreRow]) -> str:
    """A table in GitHub's Markdown."""
    titles, lines = _lines(rows)
    rule = ["---:" if title in _NUMBERS else "---" for title in titles]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in (titles, rule, *lines))


def as_csv(rows: Sequence[ScoreRow]) -> str:
    """CSV with a header; numbers unrounded, unknown ones empty."""
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    return held.getvalue()


def _whole(task: str, variant: str, primary: str, metrics: Metrics) -> Iterator[ScoreRow]:
    for metric in sorted(metrics, key=lambda name: name != primary):
        yield ScoreRow(task, variant, "", "", metric, metrics[metric])


def _by_category(
    task: str, variant: str, primary: str, breakdown: Breakdown, keys: Sequence[str]
) -> Iterator[ScoreRow]:
    for key in keys:
        for category, metrics in breakdown.get(key, {}).items():
            if primary in metrics:
                yield ScoreRow(task, variant, key, category, primary, metrics[primary])


def _lines(rows: Sequence[ScoreRow]) -> tuple[list[str], list[list[str]]]:
    whole = [
        dict(
            zip(
                _TITLES,
                (
                    *map(printable, (row.task, row.scoring, row.by, row.category, row.metric)),
                    *(
                        value_text(row.result),
                        interval_text(row.result),
                        unit_of(row.result),
                        str(row.result.n),
                    ),
                ),
                strict=True,
            )
        )
        for row in rows
    ]
    titles = [title for title in _TITLES if _tells(title, whole)]
    return titles, [[line[title] for title in titles] for line in whole]


def _tells(title: str, lines: Sequence[Mapping[str, str]]) -> bool:
    values = {line[title] for line in lines}
    if title in ("scoring variant", "by"):
        return len(values - {""}) > 1
    return values != {""}


def _cell(text: str) -> str:
    """`text` in a Markdown table: on one line, and nothing in it ends the cell or is taken for HTML."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(escaped.split())
