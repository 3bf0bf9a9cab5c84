"""From the names of `--sink` to what sends a run to a tracker. Imports none of their libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

from muster.core import ConfigurationError, MissingExtraError
from muster.core.plugins import import_object
from muster.core.text import did_you_mean
from muster.sinks.record import RunRecord

Send: TypeAlias = Callable[[RunRecord, str], str]
"""Sends a run to the target that the user named (empty where none), and says where it is now. May raise anything."""


class SinkKind(NamedTuple):
    """A tracker by its name."""

    reference: str
    """`module:function` of its `Send`."""
    module: str
    """Of its library."""
    target: str
    """What may stand behind the name."""


BUILTIN = {
    "mlflow": SinkKind("muster.sinks.mlflow:send", "mlflow", "EXPERIMENT"),
    "tensorboard": SinkKind("muster.sinks.tensorboard:send", "tensorboard", "FOLDER"),
    "wandb": SinkKind("muster.sinks.wandb:send", "wandb", "[ENTITY/]PROJECT"),
}
ENTRY_POINTS = "muster.sinks"
"""Where installed packages name theirs."""


class Sink(NamedTuple):
    """What was asked for with `--sink NAME[:TARGET]`."""

    name: str
    target: str

    def __str__(self) -> str:
        return f"{self.name}:{self.target}" if self.target else self.name


def parse_sinks(words: Sequence[str]) -> list[Sink]:
    """`mlflow`, `wandb:PROJECT`, `./file.py:function`; checks that there are such, and that their libraries are.

    Raises:
        ConfigurationError: there is no tracker of that name, or what it needs isn't installed.
    """
    return [_parse(word) for word in words]


def load_sink(sink: Sink) -> Send:
    """What sends a run there. Raises `ConfigurationError`."""
    if sink.name in BUILTIN:
        return cast("Send", import_object(BUILTIN[sink.name].reference, "sink"))
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=sink.name):
        return cast("Send", import_object(entry.value, "sink"))
    return cast("Send", import_object(sink.name, "sink"))


def _parse(word: str) -> Sink:
    name, _, target = word.partition(":")
    if name in BUILTIN:
        if importlib.util.find_spec(BUILTIN[name].module) is None:
            raise MissingExtraError(f"--sink {name}", name)
        return Sink(name, target)
    others = {entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name in others:
        return Sink(name, target)
    if not target:
        known = [*BUILTIN, *sorted(others)]
        raise ConfigurationError(
            f"--sink {word}: there is no such sink{did_you_mean(name, known) or '.'} Known: {', '.join(known)}. One of "
            "your own is given as module:function or ./file.py:function"
        )
    sink = Sink(word, "")
    load_sink(sink)
    return sink
