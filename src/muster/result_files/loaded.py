"""A run as it was read from files: scores per sample, headline scores, and how it was made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ROW_COLUMNS = (
    "id", "repeat", "score", "extracted", "error_kind", "finish_reason",
    "unfinished", "prompt_tokens", "tokens", "seconds", "cluster", "target", "metadata",
)  # fmt: skip
"""The columns of `LoadedTask.rows`: see `row_schema`."""


def row_schema() -> pa.Schema:
    """One row per sample and repeat. Null is "unknown" everywhere, and in `score` "no score".

    `error_kind` says why there is no score, `unfinished` that an answer ended before its thought. `cluster` is equal
    for samples that depend on each other (an image in common), `target` the reference answers as one text, `metadata`
    the sample's as JSON.
    """
    import pyarrow as pa

    kinds = {"repeat": pa.int32(), "score": pa.float64(), "seconds": pa.float64()}
    kinds |= {"unfinished": pa.bool_(), "prompt_tokens": pa.int64(), "tokens": pa.int64()}
    return pa.schema([(name, kinds.get(name, pa.string())) for name in ROW_COLUMNS])


@dataclass(frozen=True, slots=True)
class Headline:
    """The score that stands for a task, as the files say it."""

    name: str
    value: float | None
    unit: str = ""
    interval: tuple[float, float] | None = None
    maximum: float | None = None
    """Of points: what all answers right would have earned; None where it isn't known."""


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """One task's answers."""

    name: str
    rows: pa.Table
    """`row_schema`, in the task's order."""
    score: str
    """Which score of an answer `rows` has: `accuracy`."""
    unit: str = ""
    """Of `score`; empty where it isn't known."""
    scoring: str = ""
    """By which metric, scoring variant and version: `mme (lmms-eval) 2`."""
    headline: Headline | None = None
    headline_is_mean: bool = True
    """Whether the headline is the mean of `score`; a sum, an F1 or points of pairs are not."""
    by: tuple[str, ...] = ()
    """Metadata fields that its scores are broken down by."""
    texts: Callable[[], pa.Table] | None = None
    """Question, choices, answers and prediction per row of `rows`, in that order; read when asked for."""


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """What was found at one place."""

    label: str
    """What it is called in tables: its model, or the name of its folder where runs share a model."""
    path: Path
    kind: str
    """What it was read as: `Muster run`, `lmms-eval samples`."""
    tasks: Mapping[str, LoadedTask]
    complete: bool = True
    """Whether every sample has an answer or failed for good, as far as the files say."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """How it was made, flat: `model`, `tasks.mme.prompt`, `packages.torch`."""
    notes: tuple[str, ...] = ()
    """What whoever reads the numbers should know about how the files were read."""
    groups: Mapping[str, Headline] = field(default_factory=dict)
    """Scores of several tasks together."""
    cost: float | None = None
    """Of all answers, in the currency of the prices that were given."""
