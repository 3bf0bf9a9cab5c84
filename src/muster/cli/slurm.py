"""`muster slurm`: submit a run to Slurm, follow it, fetch its results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from muster.core.saying import Shown, tell

if TYPE_CHECKING:
    from muster.config import RunConfig
    from muster.results.folder import RunFolder
    from muster.slurm.job_state import JobState
    from muster.slurm.submission import Submission


class _SubmitByDefault(TyperGroup):
    """`muster slurm --nodes 2 -- …` is `muster slurm submit --nodes 2 -- …`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0].startswith("-") and args[0] not in ctx.help_option_names:
            args = ["submit", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_SubmitByDefault, no_args_is_help=True, rich_markup_mode=None)
Job = Annotated[
    str,
    typer.Argument(
        help="The run folder that was printed on submission, or a job number.", metavar="FOLDER|JOB"
    ),
]
Every = Annotated[float, typer.Option(help="Seconds between questions to Slurm.", min=0.1)]


@app.callback()
def root() -> None:
    """Submit a run to Slurm, follow it, fetch its results. `muster slurm OPTIONS -- …` is short for submit."""


@app.command("submit")
def submit(
    run_options: Annotated[
        list[str], typer.Argument(help="After --: the options of `muster run`.", metavar="-- RUN_OPTIONS")
    ],
    nodes: Annotated[int, typer.Option(help="Nodes.")] = 1,
    gpus_per_node: Annotated[int | None, typer.Option(help="GPUs of each node.")] = None,
    tasks_per_node: Annotated[
        int | None, typer.Option(help="Replicas per node (default: one per GPU, or one).")
    ] = None,
    cpus_per_task: Annotated[int | None, typer.Option(help="CPU cores of each replica.")] = None,
    mem: Annotated[str | None, typer.Option(help="Memory per node, as sbatch reads it: 64G.")] = None,
    time: Annotated[str | None, typer.Option(help="Time limit, as sbatch reads it: 4:00:00.")] = None,
    partition: Annotated[str | None, typer.Option(help="As sbatch's.")] = None,
    account: Annotated[str | None, typer.Option(help="As sbatch's.")] = None,
    qos: Annotated[str | None, typer.Option(help="As sbatch's.")] = None,
    constraint: Annotated[str | None, typer.Option(help="As sbatch's.")] = None,
    job_name: Annotated[str, typer.Option(help="As sbatch's.")] = "muster",
    sbatch: Annotated[
        list[str] | None, typer.Option(help="Any other option of sbatch: KEY=VALUE or KEY; may be repeated.")
    ] = None,
    container: Annotated[
        str | None, typer.Option(help="Image for the tasks (pyxis: srun --container-image).")
    ] = None,
    container_mounts: Annotated[
        list[str] | None,
        typer.Option(help="SRC:DST, beside the run and working folders; may be repeated."),
    ] = None,
    setup: Annotated[
        list[str] | None, typer.Option(help="A shell line before srun (module load …); may be repeated.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="The Python of the tasks (default: this one; in a container python3).")
    ] = None,
    stop_before: Annotated[
        int, typer.Option(help="Seconds before the time limit at which the run stops and is requeued.")
    ] = 120,
    max_requeues: Annotated[int, typer.Option(help="Requeue an interrupted run at most this often.")] = 10,
    fetch: Annotated[
        Path | None,
        typer.Option(help="The run folder is on the node's own disk: copy it to this folder at the end."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait, and show the job's output.")] = False,
    every: Every = 10.0,
    untested: Annotated[
        bool, typer.Option("--untested", help="Submit without asking Slurm whether the job could ever start.")
    ] = False,
    print_script: Annotated[
        bool, typer.Option("--print-script", help="Print the batch script, and submit nothing.")
    ] = False,
) -> None:
    """Submit `muster run RUN_OPTIONS` as a job, one replica per task, that survives time limits and pre-emption."""
    from muster.attempt import default_output
    from muster.results.folder import RunFolder
    from muster.slurm.request import JobRequest, parse_sbatch
    from muster.slurm.run_options import check_run, without_output
    from muster.slurm.script import batch_body
    from muster.slurm.submission import render
    from muster.slurm.submission import submit as hand_over

    request = JobRequest(
        nodes=nodes, tasks_per_node=tasks_per_node, gpus_per_node=gpus_per_node, cpus_per_task=cpus_per_task,
        job_name=job_name, partition=partition, account=account, qos=qos, constraint=constraint, time=time, mem=mem,
        container=container, mounts=container_mounts or (), stop_before=stop_before, max_requeues=max_requeues,
        setup=setup or (), more=parse_sbatch(sbatch or ()),
    )  # fmt: skip
    request.check()
    words = run_options[2:] if run_options[:2] == ["muster", "run"] else run_options
    config = _run_config(words)
    check_run(config, request, elsewhere=bool(fetch or container))
    run = (config.output or default_output(config)).absolute()
    folder = RunFolder(fetch.absolute() if fetch else run)
    task = [python or ("python3" if container else sys.executable), "-m", "muster", "run"]
    body = batch_body(
        [*task, *without_output(words), "--output", str(run)],
        run=run,
        srun=request.srun(run, Path.cwd()),
        setup=request.setup,
        max_requeues=max_requeues,
        own_output=fetch is not None,
    )
    if print_script:
        typer.echo(render(request, body, folder, fetched=fetch is not None), nl=False)
        return
    _refuse_a_second_job(folder)
    submission = hand_over(
        request, body, run=run, folder=folder, fetched=fetch is not None, tested=not untested
    )
    where = f"{run} on its first node, to be fetched to {folder.root}" if fetch else str(run)
    typer.echo(f"submitted job {submission.job}\nrun folder {where}")
    if follow:
        raise typer.Exit(_follow(submission, every))
    typer.echo(
        f"`muster slurm follow {folder.root}` shows its output, `muster slurm cancel {folder.root}` ends it"
    )


@app.command("follow")
def follow(job: Job, every: Every = 10.0) -> None:
    """Show a job's output until it ends, and end with its exit code. Ctrl-C leaves the job running."""
    raise typer.Exit(_follow(_find(job), every))


@app.command("cancel")
def cancel(job: Job) -> None:
    """End a job, pending or running. What was answered is kept, and submitting the same again goes on."""
    from muster.slurm.commands import ask_slurm

    submission = _find(job)
    state = _look(submission)
    if state is None or state.ended:
        typer.echo(f"job {submission.job} is over already{f' ({state.describe()})' if state else ''}")
        return
    ask_slurm("scancel", submission.job)
    typer.echo(f"cancelled job {submission.job}, which was {state.describe()}")


@app.command("status")
def status(job: Job) -> None:
    """Show the job's state, why it is pending, and how far the run is."""
    from muster.cli import status as run_status

    submission = _find(job)
    state = _look(submission)
    typer.echo(
        f"job {submission.job}: {state.describe() if state else 'over, and Slurm no longer knows how it ended'}"
    )
    if submission.here.manifest.exists():
        if submission.fetched:
            typer.echo(f"as last fetched to {submission.folder}:")
        run_status.command(submission.here.root)
    elif submission.fetched:
        typer.echo(
            f"the run folder {submission.run} is on the node's own disk: `muster slurm fetch {submission.folder}` "
            "copies it, `muster slurm follow` shows the job's output"
        )
    else:
        typer.echo(f"{submission.folder}: the run has not begun")


@app.command("fetch")
def fetch(
    job: Job,
    node: Annotated[
        str | None, typer.Option(help="The job's first node, where Slurm has forgotten it.")
    ] = None,
) -> None:
    """Copy the run folder from the node's own disk (after --fetch), while the job runs or afterwards."""
    from muster.core import ConfigurationError
    from muster.slurm.fetch import fetch as copy

    submission = _find(job)
    if not submission.fetched:
        raise ConfigurationError(
            f"{submission.folder} is the run folder itself: job {submission.job} was submitted without --fetch"
        )
    copy(submission, _look(submission), node)
    typer.echo(f"fetched {submission.run} to {submission.folder}")


def _run_config(words: list[str]) -> RunConfig:
    """The configuration that the words mean to `muster run`."""
    from muster.cli import run
    from muster.cli.config_options import add_command
    from muster.config import load_config

    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    add_command(alone, "run", run.command)
    command = typer.main.get_command(alone)
    with command.make_context("muster run", list(words)) as context:
        given = {name: value for name, value in context.params.items() if name not in ("config", "json")}
        return load_config(given, context.params["config"])


def _follow(submission: Submission, every: float) -> int:
    from muster.slurm.follow import follow as until_the_end

    def say(line: str) -> None:
        sys.stdout.flush()
        tell(f"muster: {line}")

    return until_the_end(submission, say, Shown(sys.stdout.buffer).write, every)


def _look(submission: Submission) -> JobState | None:
    from muster.slurm.job_state import look_at

    return look_at(submission.job)


def _find(job: str) -> Submission:
    """The submission that a folder or a job number means."""
    from muster.core import ConfigurationError
    from muster.results.folder import RunFolder
    from muster.slurm.job_state import look_at
    from muster.slurm.submission import load_submission

    if not job.isdigit() or Path(job).is_dir():
        return load_submission(RunFolder(Path(job)))
    state = look_at(job)
    if state is None or not state.command:
        raise ConfigurationError(f"Slurm no longer knows where job {job} came from: give the run folder")
    submission = load_submission(RunFolder(Path(state.command).parent.parent))
    if submission.job != job:
        raise ConfigurationError(f"job {job} was not the last one submitted into {submission.folder}")
    return submission


def _refuse_a_second_job(folder: RunFolder) -> None:
    from muster.core import ConfigurationError
    from muster.slurm.job_state import look_at
    from muster.slurm.submission import RECORD, load_submission

    if not (folder.slurm / RECORD).exists():
        return
    last = load_submission(folder)
    state = look_at(last.job)
    if state is not None and not state.ended:
        raise ConfigurationError(
            f"job {last.job} works on {folder.root} already ({state.describe()}): `muster slurm follow {folder.root}`, "
            f"or `muster slurm cancel {folder.root}` first"
        )
