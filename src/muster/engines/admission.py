"""What a joining machine runs of what a run asks for: the same model, and no code that its user didn't name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from muster.core import JSON, ConfigurationError, RunError
from muster.core.choices import RequestedBatch
from muster.models.protocol import ModelSettings
from muster.models.registry import BUILTIN, backend_source, known_kind, resolve_model
from muster.results.environment import package_versions
from muster.results.fingerprint import NEUTRAL_ARGS, differences, model_fingerprint
from muster.results.redaction import redact_settings
from muster.wire.messages import Offer

_LONGEST_NAME = 1000
"""Characters of a model's name; file systems end before."""
_OF_THE_FILES = ("files", "weights", "weight_bytes", "libraries")
"""Parts of a fingerprint that are the same wherever the model lies and whatever runs it."""


@dataclass(frozen=True, slots=True)
class Own:
    """What the user of the joining machine says about it."""

    model: str | None = None
    """Where the model lies here."""
    backend: str | None = None
    """The user's own backend that may be run here."""
    trust_remote_code: bool = False
    args: Mapping[str, JSON] = field(default_factory=dict)
    """Model arguments that say where and how fast, not what."""
    batch_size: RequestedBatch | None = None


class Accepted(NamedTuple):
    """What will be loaded here, and what the user should know about it."""

    backend: str
    settings: ModelSettings
    warnings: list[str]


def accept(offer: Offer, own: Own) -> Accepted:
    """Decide what to load for a run.

    The coordinator's word is taken for names and numbers only. A class of somebody's own, and code that comes with
    a model, run here because the user of this machine said so.

    Raises:
        ConfigurationError: it isn't the same model, or would run code that nobody here has agreed to.
        RunError: what is offered makes no sense.
    """
    asked, fingerprint = _read(offer)
    if asked.trust_remote_code and not own.trust_remote_code:
        raise ConfigurationError(
            f"the run of {offer.model} was started with --trust-remote-code: say it here too, if Python code that "
            "comes with the model may run on this machine"
        )
    if unsaid := _to_be_said(offer.backend, asked.args) - set(own.args):
        told = ",".join(f"{name}={redact_settings(asked.args)[name]}" for name in sorted(unsaid))
        raise ConfigurationError(
            "the run's model arguments may name programs, plug-ins, files, addresses and variables with secrets, which "
            f"a coordinator can't make this machine run, read or send: {told}. If you agree, say them here too, in "
            "--model-args"
        )
    same = {name for name, value in own.args.items() if name in asked.args and asked.args[name] == value}
    if stray := sorted(set(own.args) - NEUTRAL_ARGS - same):
        raise ConfigurationError(
            f"--model-args {', '.join(stray)}: could change the answers, and all workers of a run must give the same; "
            "a joining machine may say where the model runs (device, device_map …), the run says the rest"
        )
    backend = _backend(offer, own.backend)
    settings = replace(
        asked,
        model=_model(offer, asked, fingerprint, own.model),
        args={**asked.args, **own.args},
        batch_size=asked.batch_size if own.batch_size is None else own.batch_size,
    )
    return Accepted(backend, settings, _other_versions(offer.packages, package_versions()))


def _read(offer: Offer) -> tuple[ModelSettings, dict[str, JSON]]:
    """The settings and the fingerprint that are offered; types and ranges are a coordinator's word too."""
    try:
        asked = msgspec.msgpack.decode(offer.settings, type=ModelSettings)
        fingerprint = msgspec.msgpack.decode(offer.fingerprint, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _no_sense(str(error)) from error
    counts = (asked.gpus_per_replica, asked.batch_size, asked.max_in_flight)
    if (
        any(isinstance(count, int) and count < 1 for count in counts)
        or not 0 < asked.request_timeout < math.inf
    ):
        raise _no_sense("a number is out of its range")
    unknown = ":" not in offer.backend and offer.backend not in BUILTIN
    if unknown or "\0" in asked.model or len(asked.model) > _LONGEST_NAME:
        raise _no_sense("there is no such backend" if unknown else "a model can't be called so")
    return asked, fingerprint


def _no_sense(what: str) -> RunError:
    return RunError(
        f"what the coordinator offers makes no sense ({what}): this is no Muster of this version, or somebody else's"
    )


def _to_be_said(backend: str, args: Mapping[str, JSON]) -> set[str]:
    """Arguments by which a coordinator could have something of this machine run, read or sent.

    For a model that is loaded here: what may be a path, an address or a repository of code. For an engine, a server
    or an API: all that are more than numbers, such as the address that this machine's key would go to. For a backend
    of one's own, whose code this machine's user knows: addresses, and names of variables.
    """
    if backend not in BUILTIN:
        return {name for name, value in args.items() if name.endswith("_env") or "://" in str(value)}
    loaded_here = BUILTIN[backend].kind == "checkpoint" and not BUILTIN[backend].processes
    may_name = _names_a_place if loaded_here else _is_more_than_a_number
    return {name for name, value in args.items() if may_name(value)}


def _is_more_than_a_number(value: JSON) -> bool:
    return not isinstance(value, int | float | None)


def _names_a_place(value: JSON) -> bool:
    if isinstance(value, list):
        return any(map(_names_a_place, value))
    if isinstance(value, dict):
        return any(map(_names_a_place, [*value, *value.values()]))
    return isinstance(value, str) and any(mark in value for mark in "/\\:~")


def check_places(offer: Offer, replicas: int) -> None:
    """Raise `RunError` where the names that a coordinator gives aren't those of `replicas` workers."""
    good = [name for name in offer.places if re.fullmatch(r"[A-Za-z0-9@_.-]{1,120}", name)]
    if len(set(good)) != replicas or len(offer.places) != replicas:
        raise _no_sense(
            f"it was asked for names for {replicas} worker(s) and gave {len(offer.places)}, {len(set(good))} of them "
            "usable"
        )


def _backend(offer: Offer, own: str | None) -> str:
    if ":" not in offer.backend:
        if own not in (None, offer.backend):
            raise ConfigurationError(f"--backend {own}: the run's is {offer.backend}; leave --backend out")
        return offer.backend
    if own is None:
        raise ConfigurationError(
            f"the run's backend is code of its user's own, {offer.backend}, which a coordinator can't make this "
            "machine run. If you know and trust it, have the same file here and name it: --backend "
            f"{offer.backend}"
        )
    if backend_source(own) != offer.backend_source:
        raise ConfigurationError(
            f"--backend {own} is another file than the run's {offer.backend}: take over the run's"
        )
    return own


def _model(offer: Offer, asked: ModelSettings, fingerprint: Mapping[str, JSON], own: str | None) -> str:
    """Where the run's model is here, checked to be the same."""
    if not any(part in fingerprint for part in _OF_THE_FILES):  # a hub id, or a server's name for a model
        if known_kind(offer.backend) == "checkpoint" and asked.model.startswith(("/", ".", "~")):
            raise _no_sense("it names a folder, and nothing of its files")
        if own not in (None, asked.model):
            raise ConfigurationError(
                f"--model {own}: the run's model is {asked.model} of the hub, and whether a folder holds the same "
                "can't be told: leave --model out"
            )
        return asked.model
    model = _folder(offer, asked, own)
    here = model_fingerprint(model, offer.backend, asked.args)
    lines = differences(
        {part: fingerprint[part] for part in _OF_THE_FILES if part in fingerprint},
        {part: here[part] for part in _OF_THE_FILES if part in here},
    )
    if lines:
        raise ConfigurationError(
            f"{model} is not the run's model ({offer.model}):\n" + "\n".join(f"  {line}" for line in lines)
        )
    return model


def _folder(offer: Offer, asked: ModelSettings, own: str | None) -> str:
    if own is not None:
        return resolve_model(own, known_kind(offer.backend))
    if Path(asked.model).is_dir():
        return asked.model
    if offer.model == "demo":
        return resolve_model("demo")
    raise ConfigurationError(
        f"the run's model is the folder {asked.model} on the coordinator's machine, and there is none here: "
        "copy it, and say where it is with --model PATH"
    )


def _other_versions(theirs: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is {here[name]} here and {version} in the run: answers may differ in rare samples"
        for name, version in sorted(theirs.items())
        if name in here and here[name] != version
    ]
