"""Slurm's commands, run from the login node."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from muster.core import ConfigurationError, RunError

_SECONDS = 60.0
_CLIENT = (
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_CLUSTERS",
    "SLURM_JWT",
    "SLURM_DEBUG",
    "SLURM_TIME_FORMAT",
)


class SlurmError(RunError):
    """A Slurm command failed; the message is Slurm's own."""


def ask_slurm(*command: str) -> str:
    """The output of a Slurm command.

    Raises:
        SlurmError: it failed, or Slurm didn't answer within a minute.
        ConfigurationError: there is no such command.
    """
    try:
        done = subprocess.run(
            command, env=client_environment(), capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except FileNotFoundError:
        raise no_slurm(command[0]) from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} didn't answer within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        raise SlurmError(
            f"{' '.join(command[:3])}: {done.stderr.strip() or f'exit status {done.returncode}'}"
        )
    return done.stdout


def no_slurm(command: str) -> ConfigurationError:
    """What to say where Slurm isn't."""
    return ConfigurationError(f"there is no {command} here: start this on a Slurm login node")


def inherited(env: Mapping[str, str] = os.environ) -> Sequence[str]:
    """The variables of a surrounding Slurm job, which would be taken for options of a new one."""
    return [
        name
        for name in env
        if name.startswith(("SLURM_", "SLURMD_")) and name not in _CLIENT and "SLURM_JOB_ID" in env
    ]


def client_environment(env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for Slurm's commands: that of a login node, also within a job."""
    hidden = set(inherited(env))
    return {name: value for name, value in env.items() if name not in hidden}
