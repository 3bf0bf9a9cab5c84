"""`muster worker`: add this machine to a running run."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muster.core import ConfigurationError, RunError
from muster.core.saying import tell

if TYPE_CHECKING:
    from muster.core.choices import RequestedBatch
    from muster.engines.admission import Own
    from muster.models.protocol import ModelSettings
    from muster.wire.endpoint import Endpoint
    from muster.wire.messages import JoinRequest, Offer, Stop

_RETRY_SECONDS = 0.5


def command(
    join: Annotated[str, typer.Option(help="HOST:PORT of the run, which it prints when it has --listen.")],
    secret_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the run's secret. Without it MUSTER_JOIN_SECRET, or a line of standard input."
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Replicas on this machine (default: one per visible GPU, or one)."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Where the run's model is on this machine, if elsewhere than in the run."),
    ] = None,
    model_args: Annotated[
        str | None, typer.Option(help="Where the model runs here: device=cpu, device_map=auto …")
    ] = None,
    batch_size: Annotated[str | None, typer.Option(help="N, or auto, instead of the run's.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="Agree to run this backend of one's own (module:Class, ./file.py:Class), the run's."
        ),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Agree to run Python code that comes with the model.")
    ] = False,
    name: Annotated[str, typer.Option(help="Shown with the host's name before each worker's number.")] = "",
    rendezvous_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a run that doesn't listen yet.")
    ] = 0.0,
) -> None:
    """Take part in a running run, which was started with `muster run … --listen`, from this or another machine.

    Model, settings, questions and images come from the run. Ctrl-C or SIGTERM finishes the requests in flight, gives
    the rest back and leaves; a second one leaves at once.
    """
    from muster.engines.admission import Own
    from muster.settings_text import parse_model_args
    from muster.wire.endpoint import parse_endpoint

    try:
        address = parse_endpoint(join)
        args = parse_model_args(model_args or "")
    except ValueError as error:
        raise ConfigurationError(f"muster worker: {error}") from None
    own = Own(model, backend, trust_remote_code, args, _batch_size(batch_size))
    raise typer.Exit(_join(address, secret_file, replicas, own, name, rendezvous_timeout))


def _batch_size(text: str | None) -> RequestedBatch | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not text.isdigit() or int(text) < 1:
        raise ConfigurationError(f"--batch-size: N, or auto (got {text!r})")
    return int(text)


def _join(
    address: Endpoint, secret_file: Path | None, replicas: int | None, own: Own, name: str, patience: float
) -> int:
    import asyncio

    import msgspec

    from muster.coordinator.join_names import new_machine_id
    from muster.engines.admission import accept, check_places
    from muster.engines.joined import JoinedReplicas
    from muster.machine.ranks import host_name
    from muster.wire.join_secret import ask_for_secret, given_secret, key_of
    from muster.wire.messages import JoinRequest, Stop

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    key = key_of(given_secret(secret_file) or ask_for_secret(sys.stdin))
    join_request = JoinRequest(new_machine_id(), name, host_name(), 0)
    asked_for = _ask_to_join(address, key, join_request, patience)
    if isinstance(asked_for, Stop):
        return _too_late(address, asked_for)
    # Whatever speaks against it is said before anybody counts with these workers.
    accepted = accept(asked_for, own)
    count, gpus = _room(accepted.backend, accepted.settings, replicas)
    offer = _ask_to_join(address, key, msgspec.structs.replace(join_request, replicas=count), 0.0)
    if isinstance(offer, Stop):
        return _too_late(address, offer)
    if msgspec.structs.replace(offer, places=[]) != asked_for:
        raise RunError(f"the run at {address} was started again just now: join it again")
    check_places(offer, count)
    for warning in accepted.warnings:
        _say(warning)
    _say(f"joining the run of {offer.model} at {address} as {', '.join(offer.places)}")
    joined = JoinedReplicas(address, key, join_request.machine_id, _say)
    status = asyncio.run(joined.work(offer, accepted, gpus))
    _say("left the run" if status else "the run is over")
    return status


def _too_late(address: Endpoint, stop: Stop) -> int:
    _say(f"nothing is left to do at {address}: {stop.reason}")
    return 0


def _room(backend: str, settings: ModelSettings, replicas: int | None) -> tuple[int, list[str]]:
    """How many replicas work here, and the GPUs for them. Raises `ConfigurationError`."""
    from muster.engines.placement import Asked, replicas_here
    from muster.machine.gpus import share, visible_gpus
    from muster.models.registry import uses_gpus

    gpus = visible_gpus() if uses_gpus(backend, settings.args) else []
    each = settings.gpus_per_replica
    asked = Asked(each if each > 1 else None, settings.parallelism)
    if gpus and each * (replicas or 1) > len(gpus):
        raise ConfigurationError(
            f"the run's replicas have {each} GPU(s) each, and {len(gpus)} are visible here: lower --replicas, make "
            "more visible (CUDA_VISIBLE_DEVICES), or pass --model-args device=cpu"
        )
    count, _shape = replicas_here(asked, replicas, len(gpus))
    share(gpus, 0, count, asked.gpus)
    return count, gpus


def _ask_to_join(address: Endpoint, key: bytes, join_request: JoinRequest, patience: float) -> Offer | Stop:
    """Ask to join; again for `patience` seconds while nobody answers."""
    from muster.engines.join_client import UnreachableError, ask_to_join

    limit = time.monotonic() + patience
    while True:
        try:
            return ask_to_join(address, key, join_request)
        except UnreachableError as error:
            if time.monotonic() > limit:
                raise RunError(str(error)) from error
        time.sleep(_RETRY_SECONDS)


def _say(line: str) -> None:
    tell(f"muster worker: {line}")
