"""A run's folder in Python: `muster.load("runs/one")`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import ConfigurationError, Media, Sample
from muster.export.frames import Frame, Frames, frame, frames_library
from muster.result_files.scored_run import planned_again, scored_run
from muster.results.folder import RunFolder
from muster.results.journal_read import read_journal
from muster.results.manifest import Manifest
from muster.results.results import Results

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

    from muster.tasks.plan import PlannedTask


def load(run: str | os.PathLike[str], *, frames: str | None = None) -> LoadedFolder:
    """Load a run from its folder, finished or still running.

    A run with answers that it hasn't scored yet is scored for this; nothing is written to its folder.

    Args:
        run: the folder.
        frames: `pandas`, `polars` or `pyarrow`: what tables come as. By default what is installed: pandas, else
            polars, else pyarrow; polars where the program has imported it.

    Raises:
        ConfigurationError: `run` is no run folder, or can't be read.
    """
    library = frames_library(frames)
    with scored_run(Path(run)) as found, found.samples() as file:
        return LoadedFolder(found.folder, found.manifest, found.results, file.read(), library)


class LoadedFolder:
    """A run. Its tables are made when they are asked for; each stays the same object."""

    def __init__(
        self, folder: RunFolder, manifest: Manifest, scores: Results, rows: pa.Table, library: Frames
    ) -> None:
        """Use `muster.load`."""
        self.path = folder.root
        """The run folder."""
        self.manifest = manifest
        """What was asked, and with what."""
        self.scores = scores
        """What `results.json` holds."""
        self._folder, self._rows, self._library = folder, rows, library

    def __repr__(self) -> str:
        return f"<run {self.name} in {self.path}: {', '.join(self.tasks)}>"

    @property
    def name(self) -> str:
        """What the run is called: its `--name`, or its model."""
        return self.manifest.label

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks."""
        return tuple(self.scores.tasks)

    @cached_property
    def results(self) -> Frame:
        """A row per score: task, scoring, by, category, metric, value, ci95_low, ci95_high, stderr, unit, maximum, n.

        `by` and `category` are null for a whole task; else the row is the headline score of one category.
        """
        return frame(_scores(self.scores), self._library)

    @cached_property
    def samples(self) -> Frame:
        """A row per sample and repeat: the columns of `samples.parquet`, and `score`.

        `score` is what the sample contributes to its task's headline score; null where that is no mean of answers.
        """
        return frame(self._rows.append_column("score", _headline(self._rows, self.scores)), self._library)

    @cached_property
    def journal(self) -> Frame:
        """A row per record of the journal, in its order: several where a request failed and was asked again."""
        return frame(_journal(self._folder), self._library)

    def image(self, sample: str | int | Mapping[str, object], task: str | None = None) -> Image:
        """The one image of a sample, as the model got it: upright, RGB, scaled as the run's settings say.

        Raises `ConfigurationError` where it has none or several (see `images`), `SampleError` where it can't be read.
        """
        found = self.images(sample, task)
        if len(found) != 1:
            said = (
                "no image" if not found else f"{len(found)} images: .images({_id_of(sample)!r}) has them all"
            )
            raise ConfigurationError(f"sample {_id_of(sample)!r} has {said}")
        return found[0]

    def images(self, sample: str | int | Mapping[str, object], task: str | None = None) -> list[Image]:
        """All images of a sample, then the frames of its videos, as the model got them.

        Args:
            sample: its id, or a row of `samples` (whatever has `id` and `task` by name).
            task: may be left out where only one task has a sample of this id.

        Raises:
            ConfigurationError: there is no such sample, or the data isn't there any more.
            SampleError: a file can't be read.
        """
        if task is None and not isinstance(sample, str | int):
            task = str(sample["task"])
        planned, found = self._find(_id_of(sample), task)
        images = [replace(image, image=planned.opened) for image in found.images]
        videos = [replace(video, shown=planned.shown) for video in found.videos]
        return [opened for media in (*images, *videos) for opened in _opened(media)]

    @cached_property
    def _planned(self) -> dict[str, tuple[PlannedTask, dict[str, Sample]]]:
        planned = planned_again(self.manifest)
        return {each.task.name: (each, {sample.id: sample for sample in each.samples}) for each in planned}

    def _find(self, sample_id: str, task: str | None) -> tuple[PlannedTask, Sample]:
        if task is not None and task not in self._planned:
            raise ConfigurationError(f"{self.path}: no task {task!r} (it has {', '.join(self.tasks)})")
        found = [
            (planned, samples[sample_id])
            for name, (planned, samples) in self._planned.items()
            if task in (None, name) and sample_id in samples
        ]
        if len(found) == 1:
            return found[0]
        where = f"task {task}" if task else str(self.path)
        if not found:
            raise ConfigurationError(f"{where} has no sample {sample_id!r}")
        names = ", ".join(planned.task.name for planned, _ in found)
        raise ConfigurationError(f"{where}: several tasks have a sample {sample_id!r}: say task=… ({names})")


def _id_of(sample: str | int | Mapping[str, object]) -> str:
    return str(sample) if isinstance(sample, str | int) else str(sample["id"])


def _opened(media: Media) -> Iterator[Image]:
    if media.kind == "image":
        from muster.media.images import load_image

        yield load_image(media)
    else:
        from muster.media.video import load_video

        yield from load_video(media).images()


def _scores(results: Results) -> pa.Table:
    import pyarrow as pa

    from muster.report.score_rows import score_rows

    keys = dict.fromkeys(key for task in results.tasks.values() for key in task.by)
    rows = [*score_rows(results), *(score_rows(results, list(keys)) if keys else ())]
    texts = {"task", "scoring", "by", "category", "metric", "unit"}
    names = (
        "task", "scoring", "by", "category", "metric", "value", "ci95_low", "ci95_high", "stderr", "unit", "maximum",
    )  # fmt: skip
    schema = pa.schema(
        [*((name, pa.string() if name in texts else pa.float64()) for name in names), ("n", pa.int64())]
    )
    cells = [dict(zip(schema.names, row.cells(), strict=True)) for row in rows]
    return pa.Table.from_pylist(cells, schema)


def _headline(rows: pa.Table, results: Results) -> pa.ChunkedArray:
    """Of each row the score whose mean is its task's headline."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.chunked_array([pa.nulls(len(rows), pa.float64())])
    scores = rows["scores"]
    names = [each.name for each in scores.type] if pa.types.is_struct(scores.type) else []
    for name, task in results.tasks.items():
        if task.answer_score in names:
            own = pc.struct_field(scores, task.answer_score)
            values = pc.if_else(pc.equal(rows["task"], name), own, values)
    return values


def _journal(folder: RunFolder) -> pa.Table:
    import pyarrow as pa

    numbers = {"repeat", "prompt_tokens", "tokens", "attempt"}
    names = (
        "task", "id", "repeat", "text", "error_kind", "error_type", "error",
        "prompt_tokens", "tokens", "seconds", "finish_reason", "worker", "at", "attempt",
    )  # fmt: skip
    kinds = dict.fromkeys(numbers, pa.int64()) | {"seconds": pa.float64(), "at": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for record in read_journal(folder.journal):
        done = record.completion
        failed = done.failure
        cells = (
            *(done.key.task, done.key.sample_id, done.key.repeat, done.text),
            *((failed.kind, failed.type, failed.message) if failed else (None, None, None)),
            *(done.usage.prompt_tokens, done.usage.completion_tokens, done.seconds, done.finish_reason),
            *(record.worker, record.at, record.attempt),
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(_valid(cell))
    return pa.table(columns, schema=schema)


def _valid(cell: object) -> object:
    from muster.core.text import valid_text

    return valid_text(cell) if isinstance(cell, str) else cell
