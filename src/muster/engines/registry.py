"""From the names of `--engine` to what starts workers. Imports none of the engines."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, cast, get_args

from muster.core import ConfigurationError
from muster.core.plugins import import_object
from muster.core.text import did_you_mean

if TYPE_CHECKING:
    from muster.config import RunConfig
    from muster.engines.job import Chosen

Launcher: TypeAlias = Literal["itself", "ranks", "cluster"]
"""Who starts the processes of an engine: `itself`, from the one process of `muster run`; `ranks`, a launcher that has
started one process per rank (torchrun, srun, mpirun, accelerate), of which this is one; `cluster`, a service that has
the machines and places replicas on them (Ray)."""

Choose: TypeAlias = "Callable[[RunConfig], Chosen]"
"""What an engine's name stands for: how the run of this configuration would be carried out. Raises
`ConfigurationError` for what the engine can't do, before anything is started."""


class EngineKind(NamedTuple):
    """An engine by its name."""

    reference: str
    """`module:function` of its `Choose`."""
    launcher: Launcher
    summary: str


AUTO = "auto"
BUILTIN = {
    "inline": EngineKind(
        "muster.engines.choose:inline", "itself", "one replica, in this very process; the fastest start"
    ),
    "local": EngineKind(
        "muster.engines.choose:local", "itself", "replicas on this machine, a process each, that are replaced"
    ),
    "torchrun": EngineKind(
        "muster.engines.choose:launched",
        "ranks",
        "this process is a rank of torchrun, srun, mpirun or accelerate",
    ),
    "ray": EngineKind("muster.engines.ray:choose", "cluster", "replicas on a Ray cluster, as actors"),
}
"""`auto` is `torchrun` where a launcher has set ranks, else `inline` for one replica and `local` for several."""
ENTRY_POINTS = "muster.engines"
"""Where installed packages name theirs."""


def list_engines() -> list[str]:
    """The names that `--engine` knows, `auto` apart: Muster's own and those of installed packages."""
    return [*BUILTIN, *sorted({entry.name for entry in _entry_points()} - set(BUILTIN))]


def load_engine(name: str) -> Choose:
    """What `--engine NAME`, `module:function` or `./file.py:function` means.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if ":" in name:
        return cast("Choose", import_object(name, "engine"))
    if name in BUILTIN:
        return cast("Choose", import_object(BUILTIN[name].reference, "engine"))
    for entry in _entry_points():
        if entry.name == name:
            return cast("Choose", import_object(entry.value, "engine"))
    raise _unknown(name)


def launcher_of(name: str) -> Launcher:
    """Who starts the processes of an engine; `itself` for `auto`, where there are no ranks.

    One of somebody else says so by an attribute `launcher` of its function.

    Raises:
        ConfigurationError: there is none of that name, or its attribute is no `Launcher`.
    """
    if name == AUTO:
        return "itself"
    if name in BUILTIN:
        return BUILTIN[name].launcher
    launcher = getattr(load_engine(name), "launcher", "itself")
    if launcher not in get_args(Launcher):
        raise ConfigurationError(
            f"engine {name}: launcher = {launcher!r} must be one of {', '.join(get_args(Launcher))}"
        )
    return cast("Launcher", launcher)


def takes_ranks(name: str) -> bool:
    """Whether a launcher's ranks belong to the run, with `auto` or by name."""
    return name == AUTO or launcher_of(name) == "ranks"


def _entry_points() -> importlib.metadata.EntryPoints:
    return importlib.metadata.entry_points(group=ENTRY_POINTS)


def _unknown(name: str) -> ConfigurationError:
    known = [AUTO, *list_engines()]
    return ConfigurationError(
        f"--engine {name}: there is no such engine{did_you_mean(name, known) or '.'} Known: {', '.join(known)}. One of "
        "your own is given as module:function or ./file.py:function"
    )
