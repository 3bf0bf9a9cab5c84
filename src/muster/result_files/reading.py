"""Reads results by whoever wrote them: says what each path is, or why it can't be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from muster.core import ConfigurationError
from muster.core.phases import phase
from muster.core.regular_files import regular
from muster.result_files.loaded import LoadedRun

_PICKLES = (".pkl", ".pickle", ".pt", ".pth")


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
    from muster.result_files import inspect_logs, internvl, lmms_eval, muster_run, vlmevalkit

    return (
        Reader(muster_run.KIND, muster_run.is_muster_run, muster_run.read_muster_run),
        Reader(lmms_eval.KIND, lmms_eval.is_lmms_eval, lmms_eval.read_lmms_eval),
        Reader(inspect_logs.KIND, inspect_logs.is_inspect_log, inspect_logs.read_inspect_log),
        Reader(vlmevalkit.KIND, vlmevalkit.is_vlmevalkit, vlmevalkit.read_vlmevalkit),
        Reader(internvl.KIND, internvl.is_internvl, internvl.read_internvl),
    )


def read_run(path: Path, predictions_of: str | None = None) -> LoadedRun:
    """What lies at `path`; a file as predictions for the task `predictions_of`, where one is named.

    Raises `ConfigurationError` where nothing is there, or nothing that can be read.
    """
    if not path.exists():
        raise ConfigurationError(f"{path} does not exist")
    if path.suffix.lower() in _PICKLES:
        raise ConfigurationError(
            f"{path} is a pickle, which can run code when it is opened, so Muster doesn't"
        )
    try:
        with phase(f"reading {path}"):
            run = _read(path, predictions_of)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or path} can't be read: {error.strerror or error}"
        ) from error
    if run is not None:
        return run
    kinds = ", ".join(reader.kind for reader in readers())
    raise ConfigurationError(
        f"{path} is nothing that Muster can read results from. It reads: {kinds}; and files of predictions, with "
        "--predictions-of TASK"
    )


def _read(path: Path, predictions_of: str | None) -> LoadedRun | None:
    if not path.is_dir():
        regular(path)
    if predictions_of is not None and path.is_file():
        from muster.result_files.predictions import read_predictions_of

        return read_predictions_of(path, predictions_of)
    return next((reader.read(path) for reader in readers() if reader.recognises(path)), None)


def read_runs(paths: Sequence[Path], predictions_of: str | None = None) -> list[LoadedRun]:
    """Several, as `read_run` reads them, with labels that tell them apart: by model, else by folder, else by path."""
    runs = [read_run(path, predictions_of) for path in paths]
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
