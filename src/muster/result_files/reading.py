"""Reads results by whoever wrote them: says what each path is, or why it can't be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from muster.core import ConfigurationError
from muster.result_files.loaded import LoadedRun


@dataclass(frozen=True, slots=True)
class Reader:
    """One kind of results."""

    kind: str
    recognises: Callable[[Path], bool]
    """Whether a path (that exists) is of this kind: by names and a glance, never by loading it."""
    read: Callable[[Path], LoadedRun]
    """Raises `ConfigurationError`."""


def readers() -> Sequence[Reader]:
    """All kinds, the most specific first."""
    from muster.result_files import muster_run

    return (Reader(muster_run.KIND, muster_run.is_muster_run, muster_run.read_muster_run),)


def read_run(path: Path) -> LoadedRun:
    """What lies at `path`. Raises `ConfigurationError` where nothing is there, or nothing that can be read."""
    if not path.exists():
        raise ConfigurationError(f"{path} does not exist")
    for reader in readers():
        if reader.recognises(path):
            return reader.read(path)
    kinds = ", ".join(reader.kind for reader in readers())
    raise ConfigurationError(f"{path} is nothing that Muster can read results from. It reads: {kinds}")


def read_runs(paths: Sequence[Path]) -> list[LoadedRun]:
    """Several, with labels that tell them apart: by model, else by folder, else by path."""
    runs = [read_run(path) for path in paths]
    namings: tuple[Callable[[LoadedRun], str], ...] = (
        lambda run: run.label,
        lambda run: run.path.name,
        lambda run: str(run.path),
    )
    for naming in namings:
        labels = [naming(run) for run in runs]
        if len(set(labels)) == len(labels):
            return [replace(run, label=label) for run, label in zip(runs, labels, strict=True)]
    return [replace(run, label=f"{number}: {run.label}") for number, run in enumerate(runs, 1)]
