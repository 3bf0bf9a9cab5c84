"""`muster send`: tell a tracker about finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run folders with scores.", show_default=False)],
    to: Annotated[
        list[str],
        typer.Option(
            help="mlflow[:EXPERIMENT], wandb[:PROJECT], tensorboard[:FOLDER] or ./file.py:function; may be repeated."
        ),
    ],
    step: Annotated[int, typer.Option(help="Of the training that the model comes from.")] = 0,
    no_report: Annotated[bool, typer.Option("--no-report", help="Send scores and settings alone.")] = False,
) -> None:
    """Send runs to MLflow, Weights & Biases or TensorBoard: scores, intervals, settings, and the report.

    A run that was sent before is updated. Exit code 1: one could not be sent.
    """
    from muster.cli.showing import phases_shown
    from muster.results.folder import RunFolder
    from muster.sinks.registry import parse_sinks
    from muster.sinks.sending import send

    sinks = parse_sinks([word for words in to for word in words.split(",") if word])
    with phases_shown():
        well = [send(RunFolder(run), sinks, step, typer.echo, report=not no_report) for run in runs]
    raise typer.Exit(0 if all(well) else 1)
