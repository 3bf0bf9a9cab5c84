"""`muster run`: evaluate a model on tasks."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from muster.run import Display


def command(
    model: Annotated[
        str | None,
        typer.Option(help="A local folder or hub id; `demo` is the small model that ships with Muster."),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Names, groups or files, separated by commas: digits,./my_benchmark.yaml"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The run folder; resumes when it holds part of the same run.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What tables, comparisons and reports call the run, instead of its model."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file with any of these options.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="transformers (default), openai, anthropic, gemini, chat, replay, module:Class or ./file.py:Class"
        ),
    ] = None,
    model_args: Annotated[
        str | None, typer.Option(help="Handed to the backend: dtype=bfloat16,device_map=auto,…")
    ] = None,
    trust_remote_code: Annotated[
        bool | None, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Where benchmarks' files are: DIR for all, TASK=DIR for one task's, separated by commas."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Another split of the tasks' datasets: NAME, or TASK=NAME for one task."),
    ] = None,
    prompt_variant: Annotated[
        str | None,
        typer.Option(help="Another of the tasks' prompts: NAME, or TASK=NAME for one task."),
    ] = None,
    video: Annotated[
        str | None,
        typer.Option(
            help="What is shown of videos: frames=32,sampling=uniform,max_pixels=… (docs/video.md)."
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="How images are opened: transparency=drop,max_pixels=…,limit=… (docs/models.md)."),
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="First N samples of each task, or that fraction (0.1).")
    ] = None,
    sample_ids: Annotated[str | None, typer.Option(help="Only these samples: id,id or task/id,…")] = None,
    engine: Annotated[str | None, typer.Option(help="auto (default), inline, local, torchrun or ray")] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="With --engine ray: a cluster's HOST:PORT, or `auto` on one of its nodes (default: RAY_ADDRESS, "
            "else a Ray that is started here)."
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            help="Data-parallel replicas of the model (default: as many as fit); 0 with --listen: only those that join."
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            help="HOST[:PORT] where machines may join with `muster worker --join` (127.0.0.1: this one alone; "
            "0.0.0.0: all addresses)."
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help="With --listen: a file with the secret that joining takes (default: one is made, in the run folder)."
        ),
    ] = None,
    gpus_per_replica: Annotated[
        str | None, typer.Option(help="GPUs that one copy of the model takes (default 1).")
    ] = None,
    parallelism: Annotated[
        str | None,
        typer.Option(
            help="How these share it: device-map (layers, one process; default) or tensor (K processes)."
        ),
    ] = None,
    auto: Annotated[
        bool | None,
        typer.Option(
            "--auto", help="Spread a replica over all of its GPUs, as --model-args device_map=auto."
        ),
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="dynamic (default), contiguous or strided")] = None,
    lengths_from: Annotated[
        str | None,
        typer.Option(help="Earlier runs, of any model, whose answer lengths tell what to start first."),
    ] = None,
    collect: Annotated[
        str | None, typer.Option(help="stream (default), or gather over the process group at the end")
    ] = None,
    dist_backend: Annotated[
        str | None, typer.Option(help="Process group of --collect gather: auto (default), nccl or gloo")
    ] = None,
    batch_size: Annotated[str | None, typer.Option(help="N, or auto (default)")] = None,
    max_in_flight: Annotated[
        str | None, typer.Option(help="Requests at the same time, for backends without static batches.")
    ] = None,
    max_new_tokens: Annotated[str | None, typer.Option(help="Instead of the task's.")] = None,
    temperature: Annotated[str | None, typer.Option(help="Instead of the task's; 0 is greedy.")] = None,
    top_p: Annotated[str | None, typer.Option(help="Instead of the task's.")] = None,
    seed: Annotated[str | None, typer.Option(help="Of sampled generation (default 0).")] = None,
    repeats: Annotated[str | None, typer.Option(help="Answers per sample (default 1).")] = None,
    scoring: Annotated[
        str | None,
        typer.Option(
            help="Whose conventions score the answers: lmms-eval, or several, or all (default: the task's)."
        ),
    ] = None,
    thinking: Annotated[
        str | None,
        typer.Option(
            help="Tags around what a model thinks: auto (those in use, default), none, or <t>...</t> (docs/metrics.md)."
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="The model that judges answers, where a task's scores need one (MM-Vet, …)."),
    ] = None,
    judge_backend: Annotated[
        str | None, typer.Option(help="Backend of the judge (default openai: any compatible server).")
    ] = None,
    judge_args: Annotated[
        str | None,
        typer.Option(help="Handed to it: base_url=http://…/v1,api_key_env=NAME,max_new_tokens=2048,…"),
    ] = None,
    max_failures: Annotated[
        str | None,
        typer.Option(
            help="Errored samples, or their fraction, tolerated before the exit code is 3 (default 0)."
        ),
    ] = None,
    worker_timeout: Annotated[
        str | None,
        typer.Option(
            help="Seconds of silence after which a worker's samples go to the others (default 120)."
        ),
    ] = None,
    request_timeout: Annotated[
        str | None,
        typer.Option(
            help="Seconds without an answer after which a replica is taken for stuck (default 600)."
        ),
    ] = None,
    load_timeout: Annotated[
        str | None, typer.Option(help="Seconds that loading the model may take (default 3600).")
    ] = None,
    rendezvous_timeout: Annotated[
        str | None, typer.Option(help="Seconds that ranks wait for each other at the start (default 600).")
    ] = None,
    run_timeout: Annotated[
        str | None,
        typer.Option(
            help="Seconds after which the run stops, resumable, with exit code 124 (default: never)."
        ),
    ] = None,
    progress: Annotated[str | None, typer.Option(help="auto (default), rich, plain or none")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print results.json to standard output at the end.")
    ] = False,
) -> None:
    """Evaluate a model on tasks.

    Under torchrun, accelerate launch, srun or mpirun every process is one replica, or K of them with
    --gpus-per-replica K: start it with `-m muster run …` and no further options.
    """
    given = {name: value for name, value in locals().items() if name not in ("config", "json")}
    from muster.config import load_config

    raise typer.Exit(execute(load_config(given, config), as_json=json))


def execute(config: RunConfig, *, as_json: bool) -> int:
    """Run as what this process is, and return the exit status."""
    from muster.cli.leftovers import adopt_orphans
    from muster.machine.ranks import read_ranks

    adopt_orphans()
    ranks = read_ranks() if config.engine in ("auto", "torchrun") else None
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
    from muster.run import run

    folder = config.output or default_output(config)
    config = config.model_copy(update={"output": folder})
    noise = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with contextlib.ExitStack() as last:
        try:
            with noise:  # what models print must not mix with the JSON
                results = run(config, _display(config, as_json=as_json), last)
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


def _display(config: RunConfig, *, as_json: bool) -> Display:
    from muster.report.console import terminal
    from muster.report.displays import PlainDisplay, RichDisplay
    from muster.run import Silent

    console = terminal(stderr=True)
    kind = config.progress
    if kind == "none":
        return Silent()
    if kind == "rich" or (kind == "auto" and console.is_terminal and not as_json):
        return RichDisplay(console)
    return PlainDisplay(console)


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
            f"muster: {results.unscored} answers have no score: their convention can't score them, most often for want "
            "of a judge's verdict. The reasons stand with the samples; `muster score` with --judge has them judged "
            "later (docs/judges.md)\n"
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
