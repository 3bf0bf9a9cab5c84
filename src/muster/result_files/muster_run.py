"""Reads a run folder of Muster, finished or still running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muster.core import JSON, ConfigurationError
from muster.result_files.answers import TARGETS_JOINED
from muster.result_files.loaded import Headline, LoadedRun, LoadedTask, row_schema
from muster.result_files.scored_run import ScoredRun, scored_run
from muster.results.folder import RunFolder
from muster.results.manifest import Manifest
from muster.results.results import MetricResult, TaskResults

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "Muster run"


def is_muster_run(path: Path) -> bool:
    """Whether `path` is a run folder."""
    return RunFolder(path).manifest.is_file()


def read_muster_run(path: Path) -> LoadedRun:
    """Read the run in the folder `path`. One that has new answers is scored first, elsewhere: nothing is written there.

    Raises `ConfigurationError` where the folder can't be read, or its tasks are needed and not to be had.
    """
    with scored_run(path) as run:
        return _read(run)


def _read(run: ScoredRun) -> LoadedRun:
    folder, manifest, results = run.folder, run.manifest, run.results
    notes: tuple[str, ...] = (run.note,) if run.note else ()
    wanted = [*_COLUMNS, "scores", "answers"]
    with run.samples() as file:
        table = file.read(columns=[name for name in wanted if name in file.schema_arrow.names])
    if problem := _strange(table):
        raise ConfigurationError(
            f"{run.scored.samples} is not as Muster writes it ({problem}). "
            f"`muster score {folder.root}` writes it again."
        )
    if "cluster" not in table.column_names:
        notes += (
            "it was scored by an earlier Muster, which doesn't say which samples share an image: they count as "
            f"independent (`muster score {folder.root}` adds it)",
        )
    bounds = _bounds(table)
    texts = _texts(run.scored.samples, bounds)
    if run.scored is not folder and bounds:  # which is gone soon
        first = next(iter(texts.values()))
        assert first is not None
        first()
    tasks = {
        name: _task(name, task, table.slice(*bounds[name]), texts.get(name))
        for name, task in results.tasks.items()
        if name in bounds
    }
    return LoadedRun(
        label=manifest.label,
        path=folder.root,
        kind=KIND,
        tasks=tasks,
        complete=results.complete,
        settings=manifest_settings(manifest),
        notes=notes,
        groups={
            name: headline_of(metric, result)
            for name, group in results.groups.items()
            for metric, result in group.metrics.items()
        },
        cost=results.usage.get("cost"),
    )


_COLUMNS = (
    "task", "id", "repeat", "extracted", "error_kind", "finish_reason",
    "unfinished", "prompt_tokens", "tokens", "seconds", "cluster", "metadata",
)  # fmt: skip


def _strange(table: pa.Table) -> str:
    """What keeps a table from being samples of a run: a column that is missing, of another type, or has gaps."""
    import pyarrow as pa

    types = {"task": pa.string(), "id": pa.string(), "repeat": pa.int64(), "answers": pa.list_(pa.string())}
    for name in (*types, "scores"):
        if name not in table.column_names:
            return f"it has no column `{name}`"
    kinds = types | {each.name: each.type for each in row_schema() if each.name in table.column_names}
    for name, kind in kinds.items():
        found = table[name]
        if name in ("task", "id", "repeat") and found.null_count:
            return f"`{name}` is missing in some rows"
        try:
            found.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return f"`{name}` is of the type {found.type}"
    return ""


def _bounds(table: pa.Table) -> dict[str, tuple[int, int]]:
    """Where each task's rows begin, and how many they are: they lie together."""
    import pyarrow.compute as pc

    encoded = pc.run_end_encode(table["task"].combine_chunks()) if len(table) else None
    bounds: dict[str, tuple[int, int]] = {}
    start = 0
    if encoded is not None:
        for name, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
            bounds[name] = (start, end - start)
            start = end
    return bounds


def _texts(samples: Path, bounds: Mapping[str, tuple[int, int]]) -> dict[str, Callable[[], pa.Table] | None]:
    """What reads the texts of each task, all of them once: a row group may hold several tasks."""

    @cache
    def everything() -> pa.Table:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(samples)
        names = file.schema_arrow.names
        further = [name for name in names if name.startswith(("scores[", "extracted["))]
        return file.read(columns=[*(name for name in _TEXT_COLUMNS if name in names), *further])

    def reader(start: int, count: int) -> Callable[[], pa.Table]:
        return lambda: everything().slice(start, count)

    return {name: reader(*bound) for name, bound in bounds.items()}


_TEXT_COLUMNS = ("question", "choices", "answers", "prediction", "reasoning", "error", "worker")


def _task(name: str, task: TaskResults, table: pa.Table, texts: Callable[[], pa.Table] | None) -> LoadedTask:
    import pyarrow as pa
    import pyarrow.compute as pc

    scores = table["scores"]
    names = [each.name for each in scores.type] if pa.types.is_struct(scores.type) else []
    present = [each for each in names if pc.any(pc.is_valid(pc.struct_field(scores, each))).as_py()]
    score = task.answer_score or next(
        (each for each in (task.primary, "accuracy", "correct", "score", *present) if each in present), ""
    )
    empty = pa.nulls(len(table))
    columns = {each: table[each] if each in table.column_names else empty for each in row_schema().names}
    columns["score"] = pc.struct_field(scores, score) if score in names else empty
    columns["target"] = pc.binary_join(table["answers"], TARGETS_JOINED)
    rows = pa.table([columns[each.name].cast(each.type) for each in row_schema()], schema=row_schema())
    headline = task.metrics.get(task.primary)
    return LoadedTask(
        name=name,
        rows=rows,
        score=score,
        unit="0-1" if task.answer_score is None or headline is None else answer_unit(headline.unit),
        scoring=f"{task.metric} ({task.metric_variant}) {task.metric_version}",
        headline=None if headline is None else headline_of(task.primary, headline),
        headline_is_mean=task.answer_score is not None,
        by=tuple(task.by),
        texts=texts,
    )


def headline_of(name: str, result: MetricResult) -> Headline:
    """A metric of a task's results, in the form of all result files."""
    low, high = result.ci95 or (None, None)
    interval = None if low is None or high is None else (low, high)
    maximum = None if isinstance(result.maximum, msgspec.UnsetType) else result.maximum
    return Headline(name, result.value, result.unit, interval, maximum)


def answer_unit(unit: str) -> str:
    """Of one answer's score, by the unit of its mean: a percentage is a mean of zeros and ones."""
    return "0-1" if unit == "percent" else unit


def manifest_settings(manifest: Manifest) -> dict[str, str]:
    """How a run was made, flat: `model`, `tasks.mme.prompt`, `packages.torch`."""
    from muster.results.fingerprint import shown_value

    settings: dict[str, str] = {"model": manifest.model, "muster": manifest.muster}

    def add(prefix: str, values: Mapping[str, JSON]) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                add(f"{prefix}{key}.", value)
            else:
                settings[f"{prefix}{key}"] = shown_value(value)

    add("model.", manifest.fingerprint)
    for name, task in manifest.tasks.items():
        add(f"tasks.{name}.", task.fingerprint)
        settings[f"tasks.{name}.scoring"] = f"{task.metric} ({task.metric_variant}) {task.metric_version}"
        settings[f"tasks.{name}.source"] = task.source
    add("packages.", dict(manifest.packages))
    return settings
