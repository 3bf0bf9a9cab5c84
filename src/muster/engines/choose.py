"""Which engine runs what was asked, how many replicas, and what one of them is."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import NamedTuple

from muster.config import RunConfig
from muster.core import ConfigurationError
from muster.engines.job import Chosen
from muster.engines.placement import Asked, Shape, replicas_here, take_seat
from muster.engines.registry import AUTO, load_engine, takes_ranks
from muster.machine.accelerate import accelerate_processes
from muster.machine.given_coordinator import ADDRESS, given_coordinator
from muster.machine.ranks import read_ranks
from muster.models.registry import resolve_model

log = logging.getLogger(__name__)

_NO_GATHER = "--collect gather needs a launcher's ranks: start with torchrun"


def choose_engine(config: RunConfig) -> Chosen:
    """The engine and the replicas: `--engine`'s, or for `auto` the one that fits how this process was started.

    Raises:
        ConfigurationError: an engine that doesn't fit how this process was started, or replicas that don't fit.
    """
    if config.engine == AUTO and read_ranks() is not None:
        return launched(config)
    if config.collect == "gather" and not takes_ranks(config.engine):
        raise ConfigurationError(_NO_GATHER)
    return automatic(config) if config.engine == AUTO else load_engine(config.engine)(config)


def automatic(config: RunConfig) -> Chosen:
    """On this machine: one replica in this very process, where nothing speaks against it."""
    if given_coordinator() is not None:
        raise ConfigurationError(
            f"{ADDRESS} is set, but nothing says which rank this process is: export RANK, WORLD_SIZE, LOCAL_RANK and "
            "LOCAL_WORLD_SIZE, or unset it"
        )
    if config.collect == "gather":
        raise ConfigurationError(_NO_GATHER)
    _check_joining(config)
    here = _look_here(config, None)
    alone = here.replicas == 1 and config.listen is None
    return here.inline() if alone and here.fits_inline and here.shape.alone else here.local()


def inline(config: RunConfig) -> Chosen:
    """`--engine inline`."""
    if config.listen is not None:
        raise ConfigurationError("--engine inline has one replica, which nobody can join: leave --engine out")
    _check_joining(config)
    if config.replicas not in (None, 1):
        raise ConfigurationError("--engine inline has one replica: use --engine local for more")
    here = _look_here(config, 1)
    if not here.fits_inline:
        raise ConfigurationError(
            f"--engine inline can't do {here.shape}: its replica is this very process, with all GPUs that it sees. Use "
            "--engine local"
        )
    return here.inline()


def local(config: RunConfig) -> Chosen:
    """`--engine local`."""
    _check_joining(config)
    return _look_here(config, None).local()


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


class _Here(NamedTuple):
    """Replicas on this machine."""

    replicas: int
    shape: Shape
    fits_inline: bool
    """This very process sees all GPUs, and can't be replaced when a part of it is lost."""

    def inline(self) -> Chosen:
        from muster.engines.inline import InlineEngine  # a launcher's ranks need neither of them

        return Chosen(InlineEngine(), 1, self.shape)

    def local(self) -> Chosen:
        from muster.engines.local import LocalEngine

        return Chosen(LocalEngine(), self.replicas, self.shape)


def _look_here(config: RunConfig, default: int | None) -> _Here:
    """`default`: how many there are where neither --replicas nor accelerate says it; None: as many as fit."""
    asked = asked_for(config)
    gpus = len(asked.visible())
    if config.replicas == 0:  # all will join
        return _Here(0, asked.shape(gpus, 1), fits_inline=False)
    replicas, shape = replicas_here(asked, config.replicas or _accelerates(asked) or default, gpus)
    return _Here(replicas, shape, shape.processes == 1 and (shape.gpus == 1 or gpus in (0, shape.gpus)))


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


def launched(config: RunConfig) -> Chosen:
    """`--engine torchrun`: this process is one of a launcher's ranks."""
    from muster.engines.launcher import SpmdEngine

    if (ranks := read_ranks()) is None:
        raise ConfigurationError(
            "--engine torchrun, but no launcher set any ranks: start with `torchrun … -m muster run …`, or leave "
            "--engine out"
        )
    if config.listen is not None and config.collect == "gather":
        raise ConfigurationError(
            "--collect gather: machines that join (--listen) are not in the launcher's process group"
        )
    if config.collect == "gather" and given_coordinator() is not None:
        raise ConfigurationError(
            f"--collect gather: a process group is formed through the launcher's rendezvous; unset {ADDRESS}"
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


def _check_joining(config: RunConfig) -> None:
    if config.replicas == 0 and config.listen is None:
        raise ConfigurationError(
            "--replicas 0 leaves all the work to machines that join: say where, with --listen"
        )
    if config.replicas == 0 and config.schedule != "dynamic":
        raise ConfigurationError(
            f"--schedule {config.schedule} divides the samples among the run's own replicas, and --replicas 0 has none"
        )
