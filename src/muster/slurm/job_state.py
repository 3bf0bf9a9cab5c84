"""What Slurm says about a job, in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from muster.slurm.commands import SlurmError, ask_slurm

_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED",
    "TIMEOUT",
}  # fmt: skip

_REASONS = {
    "None": "not looked at yet",
    "Priority": "jobs of higher priority come first",
    "Resources": "waits for nodes to become free",
    "BeginTime": "may not start yet: Slurm waits a moment before it starts a requeued job",
    "Cleaning": "its last attempt is being cleaned up",
    "Dependency": "waits for another job (--dependency)",
    "DependencyNeverSatisfied": "the job it depends on failed",
    "BadConstraints": "no node has what it asks for",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation",
    "JobHeldUser": "held: `scontrol release` lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobHoldMaxRequeue": "held: it was requeued too often",
    "launch_failed_requeued_held": "held: it could not be started; ask an administrator, then `scontrol release` it",
    "NodeDown": "a node it needs is down",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs",
    "PartitionConfig": "no node of its partition has what it asks for (tasks or CPUs per node, memory, GPUs)",
    "PartitionNodeLimit": "asks for more nodes than its partition has or allows",
    "PartitionTimeLimit": "asks for more time than its partition allows",
    "ReqNodeNotAvail": "a node it needs is not available (down, drained or reserved)",
    "InvalidAccount": "its account isn't valid",
    "InvalidQOS": "its QOS isn't valid",
}
_HOPELESS = {
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
}
"""Reasons that go away only when somebody changes the job or the cluster."""
_PREFIXES = {
    "QOS": "a limit of its QOS is reached",
    "Assoc": "a limit of its account or user is reached",
    "MaxCpuPer": "a limit of its account or user is reached",
    "MaxJobsPer": "a limit of its account or user is reached",
    "MaxGRESPer": "a limit of its account or user is reached",
}


@dataclass(frozen=True, slots=True)
class JobState:
    """One look at a job."""

    state: str
    """Slurm's word: PENDING, RUNNING, COMPLETING, FAILED …"""
    reason: str = ""
    exit_code: int | None = None
    """As a shell would have it: 128 + signal for one that was killed."""
    restarts: int = 0
    nodes: str = ""
    batch_host: str = ""
    """The first node, where the script and rank 0 run."""
    command: str = ""
    """The submitted script's path."""

    @property
    def ended(self) -> bool:
        """Whether it is over for good."""
        return self.state in _ENDED

    @property
    def hopeless(self) -> bool:
        """Whether it is pending, and will never start unless somebody changes the job or the cluster."""
        return self.state == "PENDING" and _name_of(self.reason) in _HOPELESS

    @property
    def exit_status(self) -> int:
        """What the job came to; a job that Slurm ended can't have succeeded."""
        if self.state == "COMPLETED":
            return 0
        if self.exit_code:
            return self.exit_code
        return 143 if self.state in ("CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE") else 1

    def describe(self) -> str:
        """One line for people."""
        text = self.state.lower().replace("_", " ")
        if self.state == "PENDING" and self.reason:
            text += f" ({self.reason}): {reason_in_words(self.reason)}"
            text += ": it will never start like this" if self.hopeless else ""
        elif self.nodes and not self.ended:
            text += f" on {self.nodes}"
        elif self.ended and self.state != "COMPLETED":
            text += f", exit code {self.exit_status}"
        if self.restarts:
            text += f" (requeued {self.restarts} time{'s' * (self.restarts > 1)})"
        return text


def reason_in_words(reason: str) -> str:
    """Why a job is pending; Slurm has some two hundred reasons, the frequent ones are put into words."""
    name = _name_of(reason)
    if name in _REASONS:
        return _REASONS[name]
    for prefix, words in _PREFIXES.items():
        if name.startswith(prefix):
            return words
    return "see `man squeue`, job reason codes"


def _name_of(reason: str) -> str:
    return reason.split(",")[0].strip("()")


def look_at(job: str) -> JobState | None:
    """The job's state; None for one that Slurm has forgotten (some minutes after its end, without accounting).

    Raises:
        SlurmError: Slurm doesn't answer.
    """
    try:
        return parse_scontrol(ask_slurm("scontrol", "show", "job", job, "--oneliner"))
    except SlurmError as error:
        if "Invalid job id" not in str(error):
            raise
    try:
        return parse_sacct(ask_slurm("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode,NodeList"))
    except SlurmError:
        return None  # no accounting on this cluster


def parse_scontrol(line: str) -> JobState:
    """What `scontrol show job --oneliner` prints."""
    fields = dict(re.findall(r"(\w+)=(\S*)", line))
    nodes = fields.get("NodeList", "")
    return JobState(
        state=fields.get("JobState", "UNKNOWN"),
        reason=fields.get("Reason", ""),
        exit_code=_exit_code(fields.get("ExitCode", "")),
        restarts=int(fields.get("Restarts", "0")),
        nodes="" if nodes == "(null)" else nodes,
        batch_host=fields.get("BatchHost", ""),
        command=fields.get("Command", ""),
    )


def parse_sacct(text: str) -> JobState | None:
    """What `sacct -P` prints of state, exit code and node list; a state may be `CANCELLED by 1000`."""
    lines = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
    if not lines:
        return None
    state, code, nodes = lines[-1]
    return JobState(state.split()[0] if state else "UNKNOWN", exit_code=_exit_code(code), nodes=nodes)


def _exit_code(text: str) -> int | None:
    """Slurm's `status:signal`."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        return None
    status, number = int(match[1]), int(match[2])
    return 128 + number if number else status
