"""The scores of a run as a table for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from muster.results.results import MetricResult, Results, SampleCounts

WIDE = 110
"""Columns of a terminal from which there is room to say how each task was scored."""


def results_table(results: Results, width: int) -> Table:
    """One row per task and metric, the task's headline metric first and bold, for a terminal `width` columns wide."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("task", no_wrap=True, style="bold")
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("answered", justify="right")
    if width >= WIDE:
        table.add_column("scored as", style="dim")
    cost = results.usage.get("cost")
    if cost is not None:
        table.caption = Text(
            f"{results.usage.get('prompt_tokens'):,.0f} tokens in, "
            f"{results.usage.get('completion_tokens'):,.0f} out, cost {cost:.4g}"
        )
    for name, task in results.tasks.items():
        metrics = sorted(task.metrics, key=lambda metric: metric != task.primary)
        for row, metric in enumerate(metrics or [""]):
            result = task.metrics.get(metric)
            style = "bold" if metric == task.primary else ""
            cells: list[RenderableType] = [
                Text(name if row == 0 else ""),
                Text(metric or "no answers", style=style),
                Text(_value(result), style=style),
                _interval(result),
                result.unit if result else "",
                _counts(task.samples) if row == 0 else "",
            ]
            if width >= WIDE:
                cells.append(Text(f"{task.metric} ({task.metric_variant})" if row == 0 else ""))
            table.add_row(*cells)
    return table


def _counts(counts: SampleCounts) -> Text:
    text = Text(f"{counts.succeeded}/{counts.requested}")
    if counts.errored:
        text.append(f"\n{counts.errored} errors", style="red")
    if counts.missing:
        text.append(f"\n{counts.missing} missing", style="red")
    return text


def _value(result: MetricResult | None) -> str:
    return "–" if result is None or result.value is None else _number(result.value)


def _interval(result: MetricResult | None) -> str:
    if result is None or result.ci95 is None:
        return ""
    low, high = result.ci95
    return "" if low is None or high is None else f"{_number(low)} – {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
