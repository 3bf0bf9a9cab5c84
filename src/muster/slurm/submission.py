"""Submitting through submitit: it writes sbatch's options and hands the script over; the script's body is ours.

Of submitit's own jobs nothing is used: they unpickle a function from a disk that all nodes share, and learn their state
from the accounting database. Neither need exist here.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muster.core import ConfigurationError, MissingExtraError
from muster.results.files import write_json
from muster.results.folder import RunFolder
from muster.slurm.commands import SlurmError, ask_slurm, inherited, no_slurm
from muster.slurm.request import JobRequest

if TYPE_CHECKING:
    from submitit import SlurmExecutor

RECORD = "job.json"


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that was submitted; written to the folder's `slurm/job.json`."""

    job: str
    folder: str
    """The run folder on this side: the run's own, or where its copy will be."""
    run: str
    """The run folder as the nodes see it."""
    fetched: bool
    """Whether `run` is on the node's own disk and `folder` a copy."""
    access: list[str]
    """Options of srun that reach the same nodes."""
    submitted: float
    """Unix seconds."""

    @property
    def log(self) -> Path:
        """The job's output, as the nodes see it; on this side too where the disk is shared."""
        return RunFolder(Path(self.run)).slurm / f"job-{self.job}.log"

    @property
    def here(self) -> RunFolder:
        """The folder on this side."""
        return RunFolder(Path(self.folder))


def render(request: JobRequest, body: str, folder: RunFolder, *, fetched: bool) -> str:
    """The batch script as it would be submitted. Needs no Slurm."""
    executor = _executor(request, folder, fetched=fetched)
    return executor._make_submission_file_text(body, "")


def submit(
    request: JobRequest, body: str, *, run: Path, folder: RunFolder, fetched: bool, tested: bool = True
) -> Submission:
    """Hand the job to Slurm and write down what was submitted.

    `tested`: ask Slurm first whether such a job could ever start.

    Raises:
        ConfigurationError: it couldn't, sbatch refuses the job (its own words), or isn't there.
        MissingExtraError: submitit isn't installed.
    """
    executor = _executor(request, folder, fetched=fetched)
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    if tested:
        _test(executor._make_submission_file_text(body, ""))
    folder.create()
    folder.slurm.mkdir(exist_ok=True)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints sbatch's words, and raises them too
            job = executor._submit_command(body)
    except FileNotFoundError as error:
        raise no_slurm("sbatch") from error
    except (FailedJobError, FailedSubmissionError) as error:
        raise ConfigurationError(f"sbatch refused the job: {str(error).strip()}") from error
    finally:
        for leftover in folder.slurm.glob(".submission_file_*.sh"):
            if not leftover.is_symlink():
                leftover.unlink()
    job.paths.submission_file.chmod(0o600)  # the options may hold what isn't everybody's business
    submission = Submission(job.job_id, str(folder.root), str(run), fetched, request.access, time.time())
    write_json(folder.slurm / RECORD, submission)
    return submission


def _test(script: str) -> None:
    """Slurm queues a job for nine nodes on a cluster of two; asked beforehand, it says that it could never start."""
    with tempfile.NamedTemporaryFile("w", prefix="muster-", suffix=".sh") as file:
        file.write(script)
        file.flush()
        try:
            ask_slurm("sbatch", "--test-only", file.name)
        except SlurmError as error:
            said = str(error).partition(": ")[2].strip()
            raise ConfigurationError(
                f"sbatch says that this job could not start: {said}. `sinfo -Nel` lists what the nodes have; "
                "--untested submits it all the same"
            ) from error


def load_submission(folder: RunFolder) -> Submission:
    """The last submission into a folder. Raises `ConfigurationError` where there was none."""
    record = folder.slurm / RECORD
    try:
        return msgspec.json.decode(record.read_bytes(), type=Submission)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder.root}: `muster slurm` submitted nothing here (no {record})"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigurationError(f"cannot read {record}: {error}") from error


def _executor(request: JobRequest, folder: RunFolder, *, fetched: bool) -> SlurmExecutor:
    try:
        import submitit
    except ImportError:
        raise MissingExtraError("muster slurm", "slurm") from None

    class Executor(submitit.SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1  # a script can be written where there is no Slurm

        def _make_submission_command(self, submission_file_path: Path) -> list[str]:
            hidden = [word for name in inherited() for word in ("-u", name)]
            return (
                ["env", *hidden, "sbatch", str(submission_file_path)]
                if hidden
                else ["sbatch", str(submission_file_path)]
            )

    executor = Executor(folder.slurm)
    log = "/tmp/muster-%j.log" if fetched else str(folder.slurm).replace("%", "%%") + "/job-%j.log"  # noqa: S108
    executor.update_parameters(**request.parameters(log))
    return executor
