"""The commands of `muster`."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.core import TyperGroup

from muster import __version__
from muster.cli import (
    compare,
    doctor,
    explain,
    export,
    gate,
    models,
    plan,
    repair,
    report,
    run,
    score,
    send,
    slurm,
    status,
    tasks,
    view,
    worker,
)
from muster.cli.config_options import add_command
from muster.core.foreign_code import ForeignCode


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"muster {__version__}")
        raise typer.Exit


class _Commands(TyperGroup):
    """The only `SystemExit` that ends a command is Typer's own."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        with ForeignCode():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    help="Evaluate vision-language models on image and video benchmarks: on one CPU or on thousands of GPUs, "
    "with the same score everywhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `muster` itself."""


add_command(app, "run", run.command)
app.command("worker")(worker.command)
add_command(app, "score", score.command, score.OPTIONS_OF_RUN)
app.command("compare")(compare.command)
app.command("explain")(explain.command)
app.command("export")(export.command)
app.command("repair")(repair.command)
app.command("report")(report.command)
app.command("send")(send.command)
app.command("view")(view.command)
app.command("status")(status.command)
app.add_typer(tasks.app, name="tasks")
app.command("models")(models.command)
app.command("plan")(plan.command)
app.command("doctor")(doctor.command)
app.add_typer(gate.app, name="gate")
app.add_typer(slurm.app, name="slurm")

command = typer.main.get_command(app)
"""`muster` itself."""
