"""Which engine runs what was asked, and how many replicas."""

from __future__ import annotations

from muster.config import RunConfig
from muster.core import ConfigurationError
from muster.distributed.devices import visible_gpus
from muster.distributed.environment import Ranks, accelerate_processes, read_ranks
from muster.engines.inline import InlineEngine
from muster.engines.job import Engine
from muster.engines.local import LocalEngine
from muster.models.registry import uses_gpus


def choose_engine(config: RunConfig) -> tuple[Engine, int]:
    """The engine and the number of replicas.

    Raises:
        ConfigurationError: an engine that doesn't fit how this process was started.
    """
    ranks = read_ranks()
    if config.engine == "torchrun" and ranks is None:
        raise ConfigurationError(
            "--engine torchrun, but no launcher set any ranks: start with `torchrun … -m muster run …`, or leave "
            "--engine out"
        )
    if ranks is not None and config.engine in ("auto", "torchrun"):
        return _spmd(config, ranks)
    if config.engine == "ray":
        return _ray(config)
    _check_joining(config)
    replicas = _local_replicas(config)
    if config.engine == "inline" and replicas > 1 and config.replicas:
        raise ConfigurationError("--engine inline has one replica: use --engine local for more")
    if config.engine == "inline" or (config.engine == "auto" and replicas == 1 and config.listen is None):
        if config.collect == "gather":
            raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
        return InlineEngine(), 1
    if config.collect == "gather":
        raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
    return LocalEngine(), replicas


def _spmd(config: RunConfig, ranks: Ranks) -> tuple[Engine, int]:
    from muster.engines.spmd import SpmdEngine

    if config.listen is not None and config.collect == "gather":
        raise ConfigurationError(
            "--collect gather: machines that join (--listen) are not in the launcher's process group"
        )
    if config.replicas not in (None, ranks.world_size):
        raise ConfigurationError(
            f"--replicas {config.replicas}, but the launcher started {ranks.world_size} processes, one replica each: "
            "leave --replicas out"
        )
    return SpmdEngine(ranks), ranks.world_size


def _ray(config: RunConfig) -> tuple[Engine, int]:
    from muster.engines.ray import RayEngine

    if config.collect == "gather":
        raise ConfigurationError("--collect gather needs a launcher's ranks: start with torchrun")
    if config.replicas == 0:
        raise ConfigurationError("--engine ray --replicas 0: Ray places at least one replica")
    if config.schedule != "dynamic" and config.replicas is None:
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples before the start: with --engine ray, where nodes come "
            "and go, say --replicas"
        )
    return RayEngine(config.ray_address, config.replicas), config.replicas or 1


def _local_replicas(config: RunConfig) -> int:
    if config.replicas is not None:
        return config.replicas
    return accelerate_processes() or max(
        1, len(visible_gpus()) if uses_gpus(config.backend, config.model_args) else 1
    )


def _check_joining(config: RunConfig) -> None:
    if config.listen is not None and config.engine == "inline":
        raise ConfigurationError("--engine inline has one replica, which nobody can join: leave --engine out")
    if config.replicas == 0 and config.listen is None:
        raise ConfigurationError(
            "--replicas 0 leaves all the work to machines that join: say where, with --listen"
        )
    if config.replicas == 0 and config.schedule != "dynamic":
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples among the run's own replicas, and --replicas 0 has none"
        )
