"""The scores of a run as a table for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from muster.results.results import MetricResult, Results


def results_table(results: Results) -> Table:
    """One row per task and metric, the task's headline metric first and bold."""
    table = Table(title=None, header_style="bold", pad_edge=False)
    table.add_column("task")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("unit")
    table.add_column("answered", justify="right")
    table.add_column("errors", justify="right")
    table.add_column("scored as")
    for name, task in results.tasks.items():
        names = sorted(task.metrics, key=lambda metric: metric != task.primary)
        counts = task.samples
        for row, metric in enumerate(names or [""]):
            result = task.metrics.get(metric)
            style = "bold" if metric == task.primary else ""
            first = row == 0
            table.add_row(
                Text(name if first else "", style="bold"),
                Text(metric or "no answers", style=style),
                Text(_value(result), style=style),
                _interval(result),
                result.unit if result else "",
                f"{counts.succeeded}/{counts.requested}" if first else "",
                Text(str(counts.errored), style="red" if counts.errored else "dim") if first else "",
                Text(f"{task.metric} ({task.metric_variant})", style="dim") if first else "",
            )
    return table


def _value(result: MetricResult | None) -> str:
    return "–" if result is None or result.value is None else _number(result.value)


def _interval(result: MetricResult | None) -> str:
    if result is None or result.ci95 is None:
        return ""
    low, high = result.ci95
    return "" if low is None or high is None else f"{_number(low)} – {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
