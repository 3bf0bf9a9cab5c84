"""Which answers of two runs belong together, and whether the runs were asked the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from muster.core import ConfigurationError
from muster.result_files.loaded import LoadedRun, LoadedTask

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class AlignedTask:
    """One task's rows in several runs, in the same order: those samples that all of them were asked."""

    name: str
    tasks: tuple[LoadedTask, ...]
    """One per run; their `rows` are aligned."""
    dropped: tuple[int, ...]
    """Rows of each run that another run doesn't have."""


def align(runs: list[LoadedRun], *, common: bool, tasks: list[str] | None = None) -> list[AlignedTask]:
    """The tasks that all runs have (or those named), row by row.

    With `common` the comparison is restricted to the samples that all runs have. Raises `ConfigurationError` where the
    runs have other samples and `common` is false, where they have no task in common, where a sample stands in a run
    twice, and where samples of one id have other reference answers.
    """
    shared = [name for name in runs[0].tasks if all(name in run.tasks for run in runs)]
    names = shared if tasks is None else tasks
    for name in names:
        for run in runs:
            if name not in run.tasks:
                raise ConfigurationError(
                    f"{run.path} has no task {name}; it has {', '.join(run.tasks) or 'none'}"
                )
    if not names:
        lists = "\n".join(f"  {run.path}: {', '.join(run.tasks) or 'no task'}" for run in runs)
        raise ConfigurationError(f"the runs have no task in common:\n{lists}")
    return [_aligned(name, runs, common=common) for name in names]


def _aligned(name: str, runs: list[LoadedRun], *, common: bool) -> AlignedTask:
    import pyarrow.compute as pc

    tables = [run.tasks[name].rows for run in runs]
    repeated = any(pc.any(pc.greater(table["repeat"], 0)).as_py() for table in tables)
    keys = [_keys(table, run, name, repeated) for table, run in zip(tables, runs, strict=True)]
    dropped = [0] * len(runs)
    if not all(each.equals(keys[0]) for each in keys[1:]):
        kept = keys[0]
        for other in keys[1:]:
            kept = kept.filter(pc.is_in(kept, other))
        dropped = [len(each) - len(kept) for each in keys]
        if any(dropped) and not common:
            raise ConfigurationError(_other_samples(name, runs, keys, kept))
        if not len(kept):
            raise ConfigurationError(f"task {name}: the runs have no sample in common")
        places = [pc.index_in(kept, each) for each in keys]
        tasks = tuple(_reordered(run.tasks[name], each) for run, each in zip(runs, places, strict=True))
    else:
        tasks = tuple(run.tasks[name] for run in runs)
    _check_targets(name, runs, [task.rows for task in tasks])
    return AlignedTask(name, tasks, tuple(dropped))


def _reordered(task: LoadedTask, places: pa.Array) -> LoadedTask:
    texts = task.texts
    return replace(
        task, rows=task.rows.take(places), texts=None if texts is None else (lambda: texts().take(places))
    )


def _keys(table: pa.Table, run: LoadedRun, name: str, repeated: bool) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = table["id"].combine_chunks()
    if repeated:
        keys = pc.binary_join_element_wise(keys, table["repeat"].cast(pa.string()).combine_chunks(), "#")
    if pc.count_distinct(keys).as_py() != len(keys):
        counts = pc.value_counts(keys)
        twice = [each["values"] for each in counts.to_pylist() if each["counts"] > 1][:_EXAMPLES]
        raise ConfigurationError(
            f"{run.path}, task {name}: samples stand there more than once, such as {', '.join(twice)}"
        )
    return keys


def _other_samples(name: str, runs: list[LoadedRun], keys: list[pa.Array], kept: pa.Array) -> str:
    import pyarrow.compute as pc

    lines = []
    for run, each in zip(runs, keys, strict=True):
        alone = each.filter(pc.invert(pc.is_in(each, kept)))
        examples = ", ".join(alone[:_EXAMPLES].to_pylist())
        lines.append(
            f"  {run.path}: {len(each)} samples"
            + (f", {len(alone)} not in all runs ({examples} …)" if len(alone) else "")
        )
    return (
        f"task {name}: the runs were asked other samples:\n"
        + "\n".join(lines)
        + f"\nCompare the {len(kept)} samples that they share with --common, or run again with the same samples."
    )


def _check_targets(name: str, runs: list[LoadedRun], tables: list[pa.Table]) -> None:
    import pyarrow.compute as pc

    for run, table in zip(runs[1:], tables[1:], strict=True):
        unequal = pc.fill_null(pc.not_equal(tables[0]["target"], table["target"]), False)
        if count := pc.sum(unequal).as_py() or 0:
            example = table.filter(unequal)["id"][0].as_py()
            raise ConfigurationError(
                f"task {name}: {count} samples have other reference answers in {run.path} than in {runs[0].path}, "
                f"such as {example}: these are not the same samples, or the data has changed in between"
            )


def score_array(task: LoadedTask) -> NDArray[np.float64]:
    """The scores, NaN where there is none: shape (rows,)."""
    import numpy as np

    return np.asarray(task.rows["score"].to_numpy(zero_copy_only=False), dtype=np.float64)


def cluster_array(task: LoadedTask, key: str | None = None) -> NDArray[np.int64] | None:
    """The number of each row's cluster, from 0; None where all are independent: shape (rows,).

    `key` names a field of the metadata to cluster by, in place of the images that samples share. Raises
    `ConfigurationError` where no row has it.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = task.rows["cluster"] if key is None else metadata_column(task, key)
    if key is not None and column.null_count == len(column):
        raise ConfigurationError(
            f"task {task.name}: no sample's metadata has {key!r}, which was to be clustered by"
        )
    own = pc.binary_join_element_wise(pa.scalar("id"), task.rows["id"].cast(pa.string()), "\x1f")
    filled = pc.coalesce(column.cast(pa.string()), own)
    codes = filled.combine_chunks().dictionary_encode()
    if len(codes.dictionary) == len(codes):
        return None
    return np.asarray(codes.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def metadata_column(task: LoadedTask, key: str) -> pa.ChunkedArray:
    """One field of the samples' metadata as text, null where a sample lacks it."""
    import msgspec
    import pyarrow as pa

    decoder = msgspec.json.Decoder(dict[str, object])
    known: dict[str, str | None] = {}
    values: list[str | None] = []
    for text in task.rows["metadata"].to_pylist():
        if text is None:
            values.append(None)
            continue
        if text not in known:
            try:
                value = decoder.decode(text).get(key)
            except msgspec.DecodeError as error:
                raise ConfigurationError(
                    f"task {task.name}: a sample's metadata is no JSON object ({error}); its file is damaged"
                ) from error
            known[text] = (
                value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
            )
        values.append(known[text])
    return pa.chunked_array([pa.array(values, type=pa.string())])
