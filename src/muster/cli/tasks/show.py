"""`muster tasks` and `muster tasks NAME`: list the tasks, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from muster.tasks.definition import Task

_SATURATED = "saturated"
"""The group of benchmarks that no longer tell models apart."""


def command(name: Annotated[str, typer.Argument(help="A task, a group or a file.")]) -> None:
    """Show a task: source, prompt, metric and its variant, generation defaults."""
    from muster.report.console import terminal
    from muster.tasks.registry import load_tasks

    console = terminal()
    for task in load_tasks([name]):
        _show(task, console)


def list_all() -> None:
    """Print the tasks that have names."""
    from rich.table import Table
    from rich.text import Text

    from muster.report.console import terminal
    from muster.tasks.registry import list_tasks

    console = terminal()
    table = Table("task", "groups", "description", header_style="bold", pad_edge=False)
    for listing in list_tasks():
        saturated = "dim" if _SATURATED in listing.groups else ""
        table.add_row(
            Text(listing.name), Text(", ".join(listing.groups)), Text(listing.description), style=saturated
        )
    console.print(table)
    console.print(
        Text(f"{_SATURATED}: today's models are hardly told apart by it, and their reports leave it out")
    )


def _judge(task: Task) -> str:
    """Which scoring variants ask a judge."""
    from muster.metrics.protocol import is_judged
    from muster.metrics.registry import in_variant, variants_of

    metrics = [in_variant(task.metric, name) for name in variants_of(task.metric)] or [task.metric]
    asking = [
        f"{metric.info.variant} (prompt {metric.judge_prompt})"
        for metric in metrics
        if is_judged(metric) and metric.judge_prompt is not None
    ]
    return f"asked by {', '.join(asking)}; --judge MODEL names one" if asking else ""


def _scoring_variants(task: Task) -> str:
    """One line each: what `--scoring` can name, and the release or commit whose rule it is."""
    from muster.metrics.registry import in_variant, variants_of

    infos = [in_variant(task.metric, name).info for name in variants_of(task.metric)]
    return "\n".join(f"{info.variant}: {info.follows}" for info in infos)


def _show(task: Task, console: Console) -> None:
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from muster.core import ImageSettings, VideoSettings

    info = task.metric.info
    generation = ", ".join(
        f"{key}={value!r}" for key, value in asdict(task.generation).items() if value not in (None, ())
    )
    videos = ", ".join(
        f"{key}={value!r}" for key, value in asdict(task.video).items() if value not in (None, "")
    )
    images = ", ".join(f"{key}={value}" for key, value in asdict(task.image).items() if value is not None)
    rows = {
        "description": task.description,
        "version": str(task.version),
        "groups": ", ".join(task.groups),
        "source": task.source.description,
        "prompt": task.prompt.description,
        "other prompts": ", ".join(task.variants),
        "prompts by family": ", ".join(f"{family}: {name}" for family, name in task.families.items()),
        "generation": generation,
        "images": "" if task.image == ImageSettings() else images,
        "videos": "" if task.video == VideoSettings() else videos,
        "metric": f"{info.name}, scoring variant {info.variant}, version {info.version}",
        "scoring variants": _scoring_variants(task),
        "judge": _judge(task),
        "scores": "\n".join(
            f"{name} ({unit})" + (" – the task's headline score" if name == info.primary else "")
            for name, unit in info.units.items()
        ),
        "by": ", ".join(task.by),
        "homepage": task.homepage,
        "licence": task.licence,
        "citation": task.citation,
        "defined in": task.origin,
    }
    table = Table(
        title=Text(task.name, style="bold"), show_header=False, pad_edge=False, title_justify="left"
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in rows.items():
        if text:
            table.add_row(label, Text(text))
    console.print(table)
