"""A run folder with scores for all the answers in its journal: its own, or some that are made for the moment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from muster.core import ConfigurationError
from muster.results.belonging import check_belongs
from muster.results.folder import RunFolder
from muster.results.manifest import Manifest
from muster.results.results import Results

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from muster.tasks.plan import PlannedTask


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run and where its scores are."""

    folder: RunFolder
    """The run's own. Nothing is written there."""
    scored: RunFolder
    """Where `results.json` and `samples.parquet` are: the same, or a temporary one."""
    manifest: Manifest
    results: Results
    note: str = ""
    """What readers should know of the scores: that the run goes on."""

    @contextmanager
    def samples(self) -> Iterator[pq.ParquetFile]:
        """`samples.parquet`, for reading. Raises `ConfigurationError` where it can't be read."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            yield pq.ParquetFile(self.scored.samples)
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"{self.scored.samples} can't be read: its path is no UTF-8. Give the folder another name"
            ) from error
        except (OSError, pa.ArrowInvalid) as error:
            raise ConfigurationError(
                f"{self.scored.samples} can't be read ({error}). `muster score {self.folder.root}` writes it again."
            ) from error


@contextmanager
def scored_run(path: Path) -> Iterator[ScoredRun]:
    """The run in the folder `path`. One that has new answers is scored first, elsewhere; that is gone afterwards.

    Raises `ConfigurationError` where the folder can't be read, or its tasks are needed and not to be had.
    """
    folder = RunFolder(path)
    manifest = Manifest.load(folder.manifest)
    check_belongs(folder, manifest.run)
    if _scores_are_current(folder, manifest.run):
        yield ScoredRun(folder, folder, manifest, Results.load(folder.results))
        return
    with tempfile.TemporaryDirectory(prefix="muster-") as scratch:
        scored = RunFolder(Path(scratch))
        _score_into(folder, scored, manifest)
        still = "is still running" if folder.is_locked() else "has answers that it hasn't scored yet"
        note = f"the run {still}: its answers so far were scored for this"
        yield ScoredRun(folder, scored, manifest, Results.load(scored.results), note)


def planned_again(manifest: Manifest) -> list[PlannedTask]:
    """What the run asked, from its tasks' data. Raises `ConfigurationError` where that isn't to be had."""
    from muster.config import load_config
    from muster.planning import plan

    return plan(load_config(manifest.config, env={}))


def _scores_are_current(folder: RunFolder, run: str) -> bool:
    try:
        if Results.load(folder.results).run != run:
            return False
        scored = min(folder.results.stat().st_mtime, folder.samples.stat().st_mtime)
        return folder.journal.stat().st_mtime <= scored and not folder.is_locked()
    except (OSError, ConfigurationError):
        return False


def _score_into(folder: RunFolder, scored: RunFolder, manifest: Manifest) -> None:
    from muster.planning import groups_of
    from muster.results.scoring import score_run

    planned = planned_again(manifest)
    score_run(folder, planned, manifest=manifest, timing=None, groups=groups_of(planned), into=scored)
