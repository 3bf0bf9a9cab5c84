"""Tables as data frames of the library that the user has."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from muster.core import ConfigurationError
from muster.core.text import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

Frames: TypeAlias = Literal["polars", "pandas", "pyarrow"]
Frame: TypeAlias = Any
"""A polars or pandas `DataFrame`, or a pyarrow `Table`."""


def frames_library(asked: str | None = None) -> Frames:
    """The library whose frames are made: the one that is `asked` for, else polars where the program has imported it,
    else pandas, else polars, as they are installed, else pyarrow.

    Raises `ConfigurationError` for one that there isn't.
    """
    known: tuple[Frames, ...] = get_args(Frames)
    for name in known:
        if asked == name:
            if find_spec(name) is None:
                raise ConfigurationError(f"frames={asked!r}: {asked} is not installed")
            return name
    if asked is not None:
        raise ConfigurationError(
            f"frames={asked!r}: no such library{did_you_mean(asked, known)} ({', '.join(known)})"
        )
    if "polars" in sys.modules:
        return "polars"
    if find_spec("pandas") is not None:
        return "pandas"
    return "polars" if find_spec("polars") is not None else "pyarrow"


def frame(table: pa.Table, library: Frames) -> Frame:
    """The table as a frame of `library`."""
    if library == "pandas":
        return table.to_pandas()
    if library == "polars":
        import polars as pl

        return pl.from_arrow(table)
    return table
