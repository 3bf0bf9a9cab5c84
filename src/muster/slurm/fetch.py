"""Getting a run folder from a node's own disk to this side, through Slurm: there is no other way that always exists."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from muster.core import ConfigurationError, RunError
from muster.machine.ranks import first_host
from muster.slurm.commands import client_environment, no_slurm
from muster.slurm.job_state import JobState
from muster.slurm.submission import Submission


def step_on_node(submission: Submission, state: JobState | None, node: str | None, command: str) -> list[str]:
    """The srun command that runs a shell command on the run folder's node.

    While the job runs it shares the job's resources; afterwards it is a small job of its own, which may have to wait
    until the node has room.

    Raises:
        ConfigurationError: Slurm has forgotten on which node the job ran, and none is given.
    """
    words = ["srun", "--quiet", "--nodes=1", "--ntasks=1", "--mem=0", "--chdir=/", "--input=none"]
    if state is not None and state.state == "RUNNING":
        words += ["--overlap", f"--jobid={submission.job}"]
    else:
        words += [*submission.access, "--job-name=muster-fetch", "--time=10"]
    host = node or (state and (state.batch_host or first_host(state.nodes) if state.nodes else ""))
    if not host:
        raise ConfigurationError(
            f"Slurm no longer knows on which node job {submission.job} ran: name it with --node (the first of the "
            "job's nodes has the run folder)"
        )
    return [*words, f"--nodelist={host}", "sh", "-c", command]


def fetch(submission: Submission, state: JobState | None, node: str | None = None) -> None:
    """Copy the run folder here, while it is being written or afterwards; a file is the old one or the new one.

    Raises:
        RunError: it can't be had; what was here before is unchanged.
        ConfigurationError: nobody knows where it is.
    """
    # tar ends with 1 where a file grew under its hands: the journal does, and its reader knows half lines.
    tar = f"cd {shlex.quote(submission.run)} && {{ tar -cf - --exclude='./.*' . || [ $? -eq 1 ]; }}"
    command = step_on_node(submission, state, node, tar)
    folder = submission.here.root
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as temporary:
        _receive(command, Path(temporary), submission)
        _move_into(Path(temporary), folder)


def _receive(command: Sequence[str], into: Path, submission: Submission) -> None:
    try:
        sender = subprocess.Popen(
            command, env=client_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise no_slurm("srun") from None
    problem = ""
    with sender:
        assert sender.stdout is not None
        assert sender.stderr is not None
        try:
            with tarfile.open(fileobj=sender.stdout, mode="r|") as archive:
                archive.extractall(into, filter="data")
        except (tarfile.TarError, OSError) as error:
            problem = str(error)
            sender.terminate()
        words = sender.stderr.read().decode(errors="replace").strip()
    if sender.returncode != 0 or problem:
        raise RunError(f"cannot fetch {submission.run} of job {submission.job}: {words or problem}")


def _move_into(source: Path, target: Path) -> None:
    for found in sorted(source.rglob("*")):
        goal = target / found.relative_to(source)
        if found.is_dir():
            goal.mkdir(exist_ok=True)
        else:
            shutil.move(found, goal)  # on the same file system: a rename
