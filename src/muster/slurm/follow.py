"""Following a job from the login node, which may be left and taken up again at any time."""

from __future__ import annotations

import time

from muster.core import InterruptedRunError, RunError
from muster.results.manifest import Manifest
from muster.slurm.commands import SlurmError
from muster.slurm.job_state import JobState, look_at
from muster.slurm.output import JobOutput, RemoteOutput, Say, SharedOutput, Write
from muster.slurm.submission import Submission

_HOPELESS_SECONDS = 60.0
"""How long a job is followed that Slurm says will never start: nodes that are just coming up may change its mind."""
_SILENCE_SECONDS = 900.0
"""How long Slurm may not answer before following ends; controllers are restarted now and then."""


def follow(submission: Submission, say: Say, write: Write, every: float) -> int:
    """Show the job's states and output until it is over, fetch the run folder where the disk isn't shared, and
    return the job's exit status. `every`: seconds between questions to Slurm.

    Raises:
        RunError: Slurm doesn't answer, the job will never start, or the run folder can't be fetched.
        InterruptedRunError: Ctrl-C; the job goes on.
    """
    source = RemoteOutput if submission.fetched else SharedOutput
    output: JobOutput = source(submission, say, write)
    try:
        last = _until_the_end(submission, output, say, every)
        output.finish(last)
        return _status_on_file(submission) if last is None else last.exit_status
    except InterruptedRunError as error:
        raise InterruptedRunError(
            f"no longer following job {submission.job}, which goes on. `muster slurm follow {submission.folder}` takes "
            f"it up again, `muster slurm cancel {submission.folder}` ends the job",
            error.signal_number,
        ) from None
    finally:
        output.close()


def _until_the_end(submission: Submission, output: JobOutput, say: Say, every: float) -> JobState | None:
    told, answered, hopeful, pause = "", time.monotonic(), time.monotonic(), min(1.0, every)
    while True:
        try:
            state = look_at(submission.job)
        except SlurmError as error:
            if time.monotonic() - answered > _SILENCE_SECONDS:
                raise RunError(
                    f"Slurm has not answered for {_SILENCE_SECONDS:.0f} s ({error}); the job may well go on. `muster "
                    f"slurm follow {submission.folder}` takes it up again"
                ) from error
        else:
            answered = time.monotonic()
            if state is None:
                return None
            if state.describe() != told:
                told = state.describe()
                say(f"job {submission.job}: {told}")
            if state.ended:
                return state
            if not state.hopeless:
                hopeful = answered
            elif answered - hopeful > _HOPELESS_SECONDS:
                raise RunError(
                    f"job {submission.job} is {state.describe()}. `muster slurm cancel {submission.folder}` takes it "
                    "out of the queue; submit it again with what the cluster has (`sinfo -Nel`)"
                )
            output.copy(state)
        time.sleep(pause)
        pause = min(every, pause * 1.5)


def _status_on_file(submission: Submission) -> int:
    """How the run ended, by its own word, where Slurm has forgotten the job."""
    attempts = Manifest.load(submission.here.manifest).attempts
    status = attempts[-1].exit_status if attempts else None
    if status is None:
        raise RunError(f"Slurm has forgotten job {submission.job}, and the run did not note how it ended")
    return status
