"""The kinds of failure, who they concern and what happens to them (docs/architecture.md, Errors)."""

from __future__ import annotations

from typing import Literal

FailureKind = Literal["sample", "transient", "replica"]
"""Whose fault a failed request was: the sample's (never retried), the moment's, or the replica's."""


class MusterError(Exception):
    """Base of everything that Muster raises on purpose; its message says what to do next."""

    exit_code = 1


class ConfigurationError(MusterError):
    """What was asked for cannot be done; raised before a model loads. Exit code 2."""

    exit_code = 2


class MissingExtraError(ConfigurationError):
    """A part was used whose optional dependencies are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part of Muster: in its clone, pip install '.[{extra}]'")


class RunError(MusterError):
    """The run cannot go on (no replica left, disk full); what was finished is kept. Exit code 1."""


class Interruption(BaseException):
    """A signal asked this process to stop. No `Exception`: what guards against other people's errors lets it pass."""


class InterruptedRunError(Interruption):
    """The run was asked to stop by a signal and can be resumed. Exit code 128 + signal. No `MusterError`."""

    def __init__(self, reason: str, signal_number: int, advice: str = "") -> None:
        """`reason`: what stopped it; `advice`: what was kept and how to go on."""
        super().__init__(f"{reason}: {advice}" if advice else reason)
        self.signal_number = signal_number
        self.advice = advice
        self.exit_code = 128 + signal_number


class RunTimeoutError(MusterError):
    """The run took longer than it was allowed to, and can be resumed. Exit code 124, as of the command `timeout`."""

    exit_code = 124


class EndedByCodeError(Exception):
    """Somebody's code (a metric, a task file, a backend) called `sys.exit()`, or raised what is no `Exception`."""


class RequestError(Exception):
    """One request failed; raised inside backends and media loading, recorded on the sample."""

    kind: FailureKind = "sample"


class SampleError(RequestError):
    """The sample itself cannot be answered: a broken image, a prompt that is too long. Not retried."""


class TransientError(RequestError):
    """It may work a moment later: a time-out, an overloaded server, memory that was full."""

    kind: FailureKind = "transient"


class ReplicaError(RequestError):
    """The replica is broken (CUDA error, dead engine): its work returns to the queue, it is restarted."""

    kind: FailureKind = "replica"


class BrokenContractError(RunError):
    """A backend's code gives what no backend may give, and would do so again: the run ends at once."""


class LostMemberError(ReplicaError):
    """One of the replica's processes was killed: even while the model is loaded, another start may well succeed."""
