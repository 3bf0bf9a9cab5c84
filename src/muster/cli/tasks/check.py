"""`muster tasks check`: does a task fit its data?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muster.cli.showing import phases_shown

if TYPE_CHECKING:
    from muster.tasks.definition import Task

PROBLEMS = 2
"""Exit code where a task can't be run as it is, or doesn't fit its data."""


def command(
    name: Annotated[str, typer.Argument(help="A task, a group or a file.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Where benchmarks' files are: DIR for all, TASK=DIR for one task's (default: MUSTER_DATA)."
        ),
    ] = None,
    images: Annotated[
        str, typer.Option(help="How many images to decode, evenly spread: a number, or all.")
    ] = "200",
    save_images: Annotated[
        Path | None, typer.Option(help="Write the images of the first prompt into this folder.")
    ] = None,
) -> None:
    """Check a task against its data, which is downloaded if need be, and show its first prompt.

    Looks at the columns and types of every row, the number of rows, the prompts of all samples, whether images can
    be decoded and whether the metric accepts the reference answers. Exit code 2 where something is wrong.
    """
    from muster.core import ConfigurationError
    from muster.tasks.registry import load_tasks
    from muster.tasks.sources.data_folders import DataFolders

    if not (images == "all" or images.isdigit()):
        raise ConfigurationError(f"--images {images}: give a number, or all")
    given = [part.strip() for part in (data or "").split(",") if part.strip()]
    most = None if images == "all" else int(images)
    with phases_shown():
        results = [_check(task, most, save_images) for task in load_tasks([name], DataFolders.parse(given))]
    raise typer.Exit(0 if all(results) else PROBLEMS)


def _check(task: Task, most_images: int | None, save_images: Path | None) -> bool:
    """Print what was found; whether all is well."""
    from rich.text import Text

    from muster.report.console import terminal
    from muster.tasks.checking import check_task
    from muster.tasks.preview import preview, save_media

    console = terminal(soft_wrap=True, highlight=False)
    report = check_task(task, most_images)
    console.print(Text(task.name, style="bold"), Text(f"({task.source.description})"))
    for line in report.facts:
        console.print(Text(f"  {line}"))
    for warning in report.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"))
    for problem in report.problems:
        console.print(Text(f"  problem: {problem}", style="red"))
    if report.first is not None:
        console.print(Text(f"\nThe first prompt (sample {report.first.sample.id}):", style="bold"))
        console.print(Text(preview(report.first.messages)))
        if save_images is not None:
            for file in save_media(report.first.sample, save_images, task):
                console.print(Text(f"  wrote {file}"))
    console.print(Text("ok" if report.passed else "not ok", style="green" if report.passed else "red"))
    return report.passed
