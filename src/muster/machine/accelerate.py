"""What `accelerate launch` was asked for where it sets no ranks: its simple launcher, on CPUs or with one GPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class MachineRank(NamedTuple):
    """Which of how many machines this is."""

    rank: int
    machines: int


def accelerate_processes(env: Mapping[str, str] = os.environ) -> int | None:
    """How many processes `accelerate launch --num_processes N` was asked for and did not start.

    On CPUs, and with at most one GPU and no `--multi_gpu`, accelerate (seen: 1.15) starts a single process, sets no
    ranks, and does not pass N on; only its own command line, our parent's, and its configuration file have it. None
    where that is not what happened, or N is not to be found there.
    """
    if not _started_alone(env):
        return None
    return _asked(env, "num_processes")


def machine_rank(env: Mapping[str, str]) -> MachineRank | None:
    """The machine's rank where `accelerate launch --num_machines M` starts one process on each machine.

    It sets no ranks, so that each machine would take itself for the only one and evaluate everything.
    """
    if not _started_alone(env):
        return None
    machines = _asked(env, "num_machines")
    machine = _asked(env, "machine_rank")
    if machines == 1 or (machines is None and env["MASTER_ADDR"] in LOOPBACK):
        return None
    if machines is None or machine is None:
        raise ConfigurationError(
            f"accelerate launch started one process on each machine of a group that meets at {env['MASTER_ADDR']}, "
            "and did not say which this is: pass --num_machines and --machine_rank on its command line, or start "
            "with torchrun"
        )
    processes = _asked(env, "num_processes")
    if processes is not None and processes > machines:
        log.warning(
            "accelerate launch started one process on each machine, not the %d of --num_processes in all: "
            "start with torchrun --nproc-per-node for more, or on machines with several GPUs with --multi_gpu",
            processes,
        )
    return MachineRank(machine, machines)


def _started_alone(env: Mapping[str, str]) -> bool:
    """Whether accelerate's simple launcher started this process: it says so, where to meet, and no rank."""
    return "ACCELERATE_USE_CPU" in env and "MASTER_ADDR" in env and "RANK" not in env


def _asked(env: Mapping[str, str], name: str) -> int | None:
    """What `accelerate launch` was asked for: on its command line, else in its configuration file."""
    words = _parent_command()
    given = _option(words, (f"--{name}", f"--{name.replace('_', '-')}"))
    if given is not None:
        return given
    value = _configuration(words, env).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _configuration(words: Sequence[str], env: Mapping[str, str]) -> Mapping[str, object]:
    """The file that `accelerate config` wrote, or that --config_file names; empty where there is none to be read."""
    import yaml

    named = [
        value or following
        for word, following in zip(words, [*words[1:], ""], strict=True)
        for option, _, value in [word.partition("=")]
        if option in ("--config_file", "--config-file")
    ]
    home = Path(
        env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    ).expanduser()
    path = Path(named[-1]) if named else home / "accelerate" / "default_config.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        log.debug("cannot read accelerate's configuration %s: %s", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def _parent_command() -> list[str]:
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _option(words: Sequence[str], names: Sequence[str]) -> int | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.partition("=")
        if name in names and (value or following).isdigit():
            return int(value or following)
    return None
