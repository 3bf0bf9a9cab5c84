"""`muster run`: evaluate a model on tasks."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muster.cli.complaint import complain, tell_status
from muster.cli.streams import scores_to_stdout
from muster.core import InterruptedRunError, MusterError, RunError
from muster.core.interruption import settle
from muster.core.saying import tell

if TYPE_CHECKING:
    from muster.config import RunConfig
    from muster.machine.ranks import Ranks
    from muster.results.results import Results


def command(
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML file with any of these options.", rich_help_panel="What is asked"),
    ] = None,
    auto: Annotated[
        bool | None,
        typer.Option(
            "--auto",
            help="Spread a replica over all of its GPUs, as --model-args device_map=auto.",
            rich_help_panel="Where",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print results.json to standard output at the end.",
            rich_help_panel="Output",
        ),
    ] = False,
    **given: Any,
) -> None:
    """Evaluate a model on tasks.

    Under torchrun, accelerate launch, srun or mpirun every process is one replica, or K of them with
    --gpus-per-replica K: start it with `-m muster run …` and no further options.
    """
    from muster.config import load_config

    raise typer.Exit(execute(load_config({**given, "auto": auto}, config), as_json=json))


def execute(config: RunConfig, *, as_json: bool) -> int:
    """Run as what this process is, and return the exit status."""
    from muster.cli.leftovers import adopt_orphans
    from muster.engines.registry import takes_ranks
    from muster.machine.ranks import read_ranks

    adopt_orphans()
    ranks = read_ranks() if takes_ranks(config.engine) else None
    if ranks is None:
        _hint_at_srun(config)
        return _run(config, as_json=as_json)
    from muster.engines.resume_watch import resume_when_stopped

    with resume_when_stopped():
        return _run(config, as_json=as_json, launched=True) if ranks.rank == 0 else _serve(config, ranks)


def _serve(config: RunConfig, ranks: Ranks) -> int:
    from muster.engines.choose import asked_for
    from muster.engines.launcher import serve_rank
    from muster.engines.placement import take_seat

    asked = asked_for(config, aloud=False)  # rank 0 says it
    seat = take_seat(asked, ranks, asked.visible())
    return serve_rank(seat, config.rendezvous_timeout, config.worker_timeout)


def _run(config: RunConfig, *, as_json: bool, launched: bool = False) -> int:
    """`launched`: by somebody who may end with another status than this process."""
    from muster.attempt import default_output
    from muster.cli.showing import choose_display
    from muster.run import run

    folder = config.output or default_output(config)
    config = config.model_copy(update={"output": folder})
    noise = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with contextlib.ExitStack() as last:
        try:
            with noise:  # what models print must not mix with the JSON
                results = run(config, choose_display(config.progress, as_json=as_json), last)
            show(results, as_json=as_json)
            status = _exit_status(results, config)
            with scores_to_stdout():
                (sys.stderr if as_json else sys.stdout).write(f"results in {folder}\n")
        except (
            MusterError,
            InterruptedRunError,
        ) as error:  # told now, and not when other ranks have ended too
            settle()
            status = complain(error)
        if launched:
            tell_status(status)
        return status


def _hint_at_srun(config: RunConfig) -> None:
    from muster.machine.ranks import idle_slurm_tasks

    tasks = idle_slurm_tasks() if config.engine == "auto" and config.replicas is None else 0
    if tasks:
        sys.stderr.write(
            f"muster: this Slurm job has {tasks} tasks, but this process was not started by srun and works alone, on "
            "this node: put `srun` before the command, or say --replicas\n"
        )


def show(results: Results, *, as_json: bool) -> None:
    """Print the scores: a table, or JSON. Raises `RunError` where standard output takes nothing more."""
    with scores_to_stdout():
        _print(results, as_json=as_json)


def _print(results: Results, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(results)).decode() + "\n")
        return
    from muster.report.console import terminal
    from muster.report.terminal import results_table

    console = terminal(width=None if sys.stdout.isatty() else 140)
    console.print(results_table(results, console.width))


def tell_unscored(results: Results) -> None:
    """Say on standard error how many answers have no score for want of a verdict."""
    if results.unscored:
        sys.stderr.write(
            f"muster: {results.unscored} answers have no score: their scoring variant can't score them, most often for "
            "want of a judge's verdict. The reasons stand with the samples; `muster score` with --judge has them "
            "judged later (docs/judges.md)\n"
        )


def tell_unscorable(results: Results, again: str) -> None:
    """Say on standard error on how many answers a metric failed, and how; `again`: the command that scores again."""
    if not results.unscorable:
        return
    reasons = [
        f"  {name}: {count} × {message}"
        for name, task in results.tasks.items()
        for message, count in task.samples.metric_failures.items()
    ]
    tell(
        f"muster: {results.unscorable} answers could not be scored, because the metric failed on them:\n"
        + "\n".join(reasons)
        + f"\nThe answers are kept. Mend the metric and run {again}"
    )


def _exit_status(results: Results, config: RunConfig) -> int:
    requested = sum(task.samples.requested for task in results.tasks.values())
    if not results.complete:
        missing = sum(task.samples.missing for task in results.tasks.values())
        raise RunError(
            f"{missing} of {requested} samples were neither answered nor failed; run the same command again"
        )
    tell_unscorable(results, f"`muster score {config.output}`")
    if (status := results.exit_status(config.max_failures)) == 0:
        return 0
    tell_unscored(results)
    if unanswered := results.errored - results.unscored - results.unscorable:
        sys.stderr.write(
            f"muster: {unanswered} of {requested} samples have no answer, {config.max_failures} "
            "allowed by --max-failures; `muster status` groups the reasons, running the same command again retries "
            "them\n"
        )
    return status
