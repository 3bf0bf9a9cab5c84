"""The scores of a run as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UnsetType
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from muster.report.answer_warnings import answer_warnings
from muster.results.results import MetricResult, Results, SampleCounts, TaskResults

WIDE = 110
"""Columns of a terminal from which there is room to say how each task was scored."""


def results_table(results: Results, width: int) -> Table:
    """One row per task and metric, the task's headline metric first and bold, for a terminal `width` columns wide.

    Further scoring variants have a column each, in which a task's own scores stand a second time, so that each column
    is whole. What a scoring variant could not do stands below.
    """
    variants = list(dict.fromkeys(variant for task in results.tasks.values() for variant in task.variants))
    title = Text(f"{results.name} ({results.model})") if results.name else None
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("task", no_wrap=True, style="bold")
    table.add_column("metric", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    for variant in variants:
        table.add_column(variant, justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("answered", justify="right", min_width=len("answered"))
    says_how = width >= WIDE or bool(variants)
    if says_how:
        table.add_column("scoring variant", style="dim", no_wrap=bool(variants))
    for name, task in results.tasks.items():
        for row, metric in enumerate(_metrics(task)):
            result = task.metrics.get(metric)
            style = "bold" if metric == task.primary else ""
            cells: list[RenderableType] = [
                Text(name if row == 0 else ""),
                Text(metric or _why_none(task.samples), style=style),
                Text(value_text(result) if result or not metric else "", style=style),
                *(_by_variant(task, variant, metric) for variant in variants),
                interval_text(result),
                _unit(task, metric),
                _counts(task.samples, task.answers.unfinished) if row == 0 else "",
            ]
            if says_how:
                cells.append(Text(_scoring_variant(task, by_variant=bool(variants)) if row == 0 else ""))
            table.add_row(*cells)
    for name, group in results.groups.items():
        for metric, result in group.metrics.items():
            value = [Text(name), Text(metric), Text(value_text(result)), *(Text() for _ in variants)]
            table.add_row(
                *value,
                interval_text(result),
                Text(result.unit),
                Text(f"{len(group.tasks)} tasks"),
                style="italic",
            )
    if remarks := [*_used(results), *_remarks(results), *answer_warnings(results)]:
        table.caption = Text("\n".join(remarks))
        table.caption_justify = "left"
    return table


def _scoring_variant(task: TaskResults, *, by_variant: bool) -> str:
    how = task.metric_variant if by_variant else f"{task.metric} ({task.metric_variant})"
    if task.judge is None:
        return how
    return (
        f"{how}, judged by {task.judge.model} ({task.judge.prompt})"
        if task.judge.model
        else f"{how}, no judge"
    )


def _used(results: Results) -> list[str]:
    """What the run used, where that has a price, and what its judge did."""
    lines = []
    if results.usage.get("cost") is not None:
        lines.append(_tokens(results.usage))
    if results.judge is not None:
        lines.append(f"the judge {results.judge.model}: {_tokens(results.judge.usage)}")
    return lines


def _tokens(usage: Mapping[str, float | None]) -> str:
    cost = usage.get("cost")
    counts = (
        f"{usage.get('prompt_tokens') or 0:,.0f} tokens in, {usage.get('completion_tokens') or 0:,.0f} out"
    )
    return counts if cost is None else f"{counts}, cost {cost:.4g}"


def _metrics(task: TaskResults) -> list[str]:
    """The task's own metrics, the headline first, then those that only further scoring variants have."""
    own = sorted(task.metrics, key=lambda metric: metric != task.primary)
    others = (metric for variant in task.variants.values() for metric in variant.metrics)
    return list(dict.fromkeys([*own, *others])) or [""]


def _why_none(counts: SampleCounts) -> str:
    return "no scores" if counts.no_reference or counts.unscored or counts.unscorable else "no answers"


def _by_variant(task: TaskResults, variant: str, metric: str) -> Text:
    scores = task if variant == task.metric_variant else task.variants.get(variant)
    result = scores.metrics.get(metric) if scores else None
    if result is None:
        return Text("")
    return Text(value_text(result), style="bold" if scores and metric == scores.primary else "")


def _unit(task: TaskResults, metric: str) -> str:
    results = (task.metrics, *(variant.metrics for variant in task.variants.values()))
    return next((unit_of(metrics[metric]) for metrics in results if metric in metrics), "")


def unit_of(result: MetricResult) -> str:
    """`0-1`; of points how many could be had: `points of 2800`."""
    maximum = result.maximum
    return result.unit if isinstance(maximum, UnsetType) else f"{result.unit} of {maximum:g}"


def _remarks(results: Results) -> list[str]:
    """What must be known of the scores: answers without one, and why; scoring variants that can't score here."""
    lines = []
    for name, task in results.tasks.items():
        if task.samples.no_reference:
            lines.append(
                f"{name}: {task.samples.no_reference} of {task.samples.requested} have no reference answer and are in "
                "no score"
            )
        if without := task.samples.errors.get("missing"):
            lines.append(
                f"{name}: {without} of {task.samples.requested} have no prediction and are in no score"
            )
        lines += [f"{name}: {count} × {message}" for message, count in task.samples.metric_failures.items()]
        for variant, scores in task.variants.items():
            if scores.unavailable:
                lines.append(f"{name}, {variant}: {scores.unavailable}")
            elif scores.samples and scores.samples.succeeded != task.samples.succeeded:
                kinds = {**scores.samples.errors, "without reference": scores.samples.no_reference}
                reasons = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
                counts = f"{scores.samples.succeeded} of {scores.samples.requested}"
                lines.append(f"{name}, {variant}: {counts} answers have a score ({reasons})")
    return lines


def _counts(counts: SampleCounts, unfinished: int) -> Text:
    text = Text(f"{counts.succeeded}/{counts.requested}")
    if errors := counts.errored - counts.unscored - counts.unscorable:
        text.append(f"\n{errors} errors", style="red")
    if counts.unscorable:
        text.append(f"\n{counts.unscorable} could not be scored", style="red")
    if counts.no_reference:
        text.append(f"\n{counts.no_reference} without reference", style="yellow")
    if counts.unscored:
        text.append(f"\n{counts.unscored} unscored", style="red")
    if unfinished:
        text.append(f"\n{unfinished} unfinished", style="yellow")
    if counts.missing:
        text.append(f"\n{counts.missing} missing", style="red")
    return text


def value_text(result: MetricResult | None) -> str:
    """The score, to four digits or to one behind the point; `–` where it isn't defined."""
    return "–" if result is None or result.value is None else _number(result.value)


def interval_text(result: MetricResult | None) -> str:
    """`0.9796 – 0.9969`; empty where there is none."""
    if result is None or result.ci95 is None:
        return ""
    low, high = result.ci95
    return "" if low is None or high is None else f"{_number(low)} – {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"
