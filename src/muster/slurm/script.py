"""The batch script: run, tell what became of it, and ask for another attempt where that helps. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

_BODY = """\
run={run}
{output}mkdir -p "$run/slurm" || exit 1
status_file="$run/slurm/status-$SLURM_JOB_ID"
rm -f "$status_file"
trap : TERM  # sent to this shell as well when the job is cancelled or requeued: outlive the tasks, and tell the end
{setup}echo "muster: job $SLURM_JOB_ID, attempt $((${{SLURM_RESTART_COUNT:-0}} + 1)), on $SLURM_JOB_NODELIST"

# One Muster per task. SIGTERM makes it finish the requests in flight and exit with 143; the shell waits.
# srun's own status is the worst of all ranks', also where the others did a lost rank's work. Rank 0's is the run's.
{srun} sh -c '
  trap : TERM INT
  "$@"
  status=$?
  if [ "$SLURM_PROCID" = 0 ]; then echo "$status" >"$0"; fi
  exit "$status"
' "$status_file" \\
  {command}
worst=$?
status=$(cat "$status_file" 2>/dev/null || echo "$worst")
rm -f "$status_file"

# 128 and more is a signal: the time limit is near, somebody else needs the nodes, or rank 0 was killed. The journal
# has the answers so far, so the job goes back into the queue. Less is the run's own verdict, which another attempt
# would not change. A job that isn't RUNNING any more was cancelled, or is being requeued by Slurm itself.
if [ "$status" -ge 128 ]; then
  state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)
  if [ "$state" != RUNNING ]; then
    echo "muster: interrupted (status $status) while Slurm says '$state': not requeued from here"
  elif [ "${{SLURM_RESTART_COUNT:-0}}" -ge {limit} ]; then
    echo "muster: interrupted (status $status), and the limit of {limit} requeues (--max-requeues) is reached"
  else
    echo "muster: interrupted (status $status), back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$status"
"""

_OWN_OUTPUT = """\
mkdir -p "$run/slurm" && exec >>"$run/slurm/job-$SLURM_JOB_ID.log" 2>&1
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [ ! -e "$run/manifest.json" ]; then
  echo "muster: what the earlier attempt answered is on another node's disk; starting again (--sbatch nodelist=NODE)"
fi
"""


def batch_body(
    command: Sequence[str],
    *,
    run: Path,
    srun: Sequence[str],
    setup: Sequence[str] = (),
    max_requeues: int,
    own_output: bool = False,
) -> str:
    """The shell commands of the job, without sbatch's options.

    `command` runs on every task, `run` is the run folder. With `own_output` the script opens the job's log itself,
    because sbatch can't: its folder doesn't exist on the node yet.
    """
    return _BODY.format(
        run=shlex.quote(str(run)),
        output=_OWN_OUTPUT if own_output else "",
        setup="".join(f"{line}\n" for line in setup),
        srun=shlex.join(srun),
        command=_wrapped(command),
        limit=max_requeues,
    )


def _wrapped(command: Sequence[str]) -> str:
    """One option per line."""
    text = ""
    for word in command:
        text += (" \\\n  " if word.startswith("--") else " ") * bool(text) + shlex.quote(word)
    return text
