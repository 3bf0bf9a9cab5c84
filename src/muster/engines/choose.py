"""Which engine runs what was asked, how many replicas, and what one of them is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

from muster.config import RunConfig
from muster.core import ConfigurationError
from muster.engines.inline import InlineEngine
from muster.engines.job import Engine
from muster.engines.local import LocalEngine
from muster.engines.placement import Asked, Shape, replicas_here, take_seat
from muster.machine.accelerate import accelerate_processes
from muster.machine.ranks import Ranks, read_ranks
from muster.models.registry import resolve_model

log = logging.getLogger(__name__)

_NO_GATHER = "--collect gather needs a launcher's ranks: start with torchrun"


class Chosen(NamedTuple):
    """How a run is carried out."""

    engine: Engine
    replicas: int
    shape: Shape


def choose_engine(config: RunConfig) -> Chosen:
    """The engine and the replicas.

    Raises:
        ConfigurationError: an engine that doesn't fit how this process was started, or replicas that don't fit.
    """
    ranks = read_ranks()
    if config.engine == "torchrun" and ranks is None:
        raise ConfigurationError(
            "--engine torchrun, but no launcher set any ranks: start with `torchrun … -m muster run …`, or leave "
            "--engine out"
        )
    if ranks is not None and config.engine in ("auto", "torchrun"):
        return _spmd(config, ranks)
    if config.collect == "gather":
        raise ConfigurationError(_NO_GATHER)
    if config.engine == "ray":
        return _ray(config)
    return _here(config)


def asked_for(config: RunConfig, *, aloud: bool = True) -> Asked:
    """What the options say about the GPUs of a replica; where they say nothing, as many as the model needs.

    `aloud`: warn where that is more than one.

    Raises:
        ConfigurationError: the model can't fit on the GPUs of this node; says by how much, and what to do.
    """
    asked = Asked.by(config)
    if asked.gpus is not None or asked.spread or config.backend != "transformers" or config.replicas == 0:
        return asked
    if not (gpus := asked.visible()):
        return asked
    from muster.sizing.choice import choose_for_run

    chosen = choose_for_run(
        resolve_model(config.model), gpus, config.model_args, max_new_tokens=config.max_new_tokens
    )
    if chosen is None or chosen.gpus_per_replica == 1:
        return asked
    if aloud:
        log.warning("%s (say otherwise with --gpus-per-replica)", chosen.because)
    return replace(asked, gpus=chosen.gpus_per_replica)


def _here(config: RunConfig) -> Chosen:
    _check_joining(config)
    asked = asked_for(config)
    gpus = len(asked.visible())
    if config.replicas == 0:  # all will join
        return Chosen(LocalEngine(), 0, asked.shape(gpus, 1))
    wanted = config.replicas or _accelerates(asked) or (1 if config.engine == "inline" else None)
    replicas, shape = replicas_here(asked, wanted, gpus)
    # This very process sees all GPUs, and can't be replaced when a part of it is lost.
    fits_inline = shape.processes == 1 and (shape.gpus == 1 or gpus in (0, shape.gpus))
    if config.engine == "inline" and config.replicas not in (None, 1):
        raise ConfigurationError("--engine inline has one replica: use --engine local for more")
    if config.engine == "inline" and not fits_inline:
        raise ConfigurationError(
            f"--engine inline can't do {shape}: its replica is this very process, with all GPUs that it sees. Use "
            "--engine local"
        )
    may_be_alone = config.engine == "auto" and replicas == 1 and config.listen is None
    if config.engine == "inline" or (may_be_alone and fits_inline and shape.alone):
        return Chosen(InlineEngine(), 1, shape)
    return Chosen(LocalEngine(), replicas, shape)


def _accelerates(asked: Asked) -> int | None:
    """Replicas of the processes that `accelerate launch --cpu` was asked for, K to a replica as torchrun's."""
    processes = accelerate_processes()
    size = asked.gpus or 1
    if processes is None or asked.parallelism != "tensor":
        return processes
    if processes % size:
        raise ConfigurationError(
            f"--gpus-per-replica {size} doesn't divide accelerate's {processes} processes"
        )
    return processes // size


def _spmd(config: RunConfig, ranks: Ranks) -> Chosen:
    from muster.engines.launcher import SpmdEngine

    if config.listen is not None and config.collect == "gather":
        raise ConfigurationError(
            "--collect gather: machines that join (--listen) are not in the launcher's process group"
        )
    asked = asked_for(config)
    seat = take_seat(asked, ranks, asked.visible())
    replicas = len(seat.leading_ranks)
    if config.replicas not in (None, replicas):
        raise ConfigurationError(
            f"--replicas {config.replicas}, but the launcher started {ranks.world_size} processes, which makes "
            f"{replicas} replica(s): leave --replicas out"
        )
    if config.collect == "gather" and seat.shape.processes > 1:
        raise ConfigurationError(
            "--collect gather needs a process group of all replicas, and with --parallelism tensor each has one of its "
            "own: leave --collect out"
        )
    return Chosen(SpmdEngine(seat), replicas, seat.shape)


def _ray(config: RunConfig) -> Chosen:
    from muster.engines.ray import RayEngine

    if config.replicas == 0:
        raise ConfigurationError("--engine ray --replicas 0: Ray places at least one replica")
    if config.schedule != "dynamic" and config.replicas is None:
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples before the start: with --engine ray, where nodes come "
            "and go, say --replicas"
        )
    asked = Asked.by(config)
    if asked.spread and asked.gpus is None:
        raise ConfigurationError(
            "a model that is spread over several GPUs, and --engine ray: say with --gpus-per-replica how many each "
            "replica takes"
        )
    shape = asked.shape(0, 1)
    return Chosen(RayEngine(config.ray_address, config.replicas, shape), config.replicas or 1, shape)


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
