"""Makes a report from result files: loads, aligns, compares, writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from muster.compare.comparison import Comparison, compare
from muster.compare.pairing import align, metadata_column
from muster.core import ConfigurationError, RequestKey, RunError
from muster.core.phases import phase
from muster.report.page.content import Report
from muster.report.page.page import page
from muster.report.page.pictures import BUDGET, Pictures
from muster.report.page.samples import category_key
from muster.report.page.timeline import Timeline, timeline_of
from muster.result_files.loaded import LoadedRun
from muster.result_files.muster_run import KIND, is_muster_run
from muster.result_files.reading import read_runs
from muster.result_files.scored_run import planned_again
from muster.results.files import replacing
from muster.results.folder import RunFolder
from muster.results.snapshot import load_snapshot

MOST_RUNS = 9
"""One key each."""


def write_report(
    paths: Sequence[Path],
    output: Path,
    *,
    common: bool = False,
    images: bool = True,
    predictions_of: str | None = None,
) -> list[LoadedRun]:
    """Write the report of the results at `paths` to `output`; several are compared, the first the baseline.

    `predictions_of`: the task for which files among them are predictions. Returns what was read. Raises
    `ConfigurationError` as `compare` does, `RunError` where the file can't be written.
    """
    runs = read_runs(paths, predictions_of)
    report = report_of(runs, common=common, pictures=pictures_of(runs, predictions_of) if images else None)
    write(page(report), output)
    return runs


def report_of(
    runs: Sequence[LoadedRun],
    *,
    common: bool = False,
    comparison: Comparison | None = None,
    pictures: Pictures | None = None,
    home: str = "",
) -> Report:
    """What a page needs of runs that were read. `comparison`: of these runs, where it was made already.

    Raises `ConfigurationError` for runs that can't be shown together, and for damaged metadata.
    """
    if len(runs) > MOST_RUNS:
        raise ConfigurationError(f"{len(runs)} runs are too many for one page: at most {MOST_RUNS}")
    if comparison is None and len(runs) > 1:
        comparison = compare(runs, common=common)
    tasks = None if comparison is None else [task.name for task in comparison.tasks]
    aligned = align(list(runs), common=common, tasks=tasks)
    for task in aligned:  # a page that is being sent has no place for an error any more
        if key := category_key(task.tasks[0]):
            metadata_column(task.tasks[0], key)
    return Report(
        runs=runs,
        aligned=aligned,
        pictures=pictures or Pictures([]),
        comparison=comparison,
        timelines=[_timeline(run) for run in runs],
        home=home,
    )


def write(pieces: Iterable[str], output: Path) -> None:
    """Write a page to `output`, all of it or nothing. Raises `RunError`."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with (
            phase(f"writing {output.name}", "samples with pictures"),
            replacing(output) as temporary,
            temporary.open("w", encoding="utf-8") as file,
        ):
            file.writelines(pieces)
    except OSError as error:
        raise RunError(f"cannot write the report {output}: {error.strerror or error}") from error


def pictures_of(
    runs: Sequence[LoadedRun], predictions_of: str | None = None, *, budget: int = BUDGET
) -> Pictures:
    """From the data of the first run that is Muster's, or of the task; none where it isn't to be had any more."""
    from muster.results.manifest import Manifest

    run = next((run for run in runs if is_muster_run(run.path)), None)
    try:
        if run is None:
            return _pictures_of_task(predictions_of, budget) if predictions_of else Pictures([])
        planned = planned_again(Manifest.load(RunFolder(run.path).manifest))
    except ConfigurationError:
        return Pictures([])
    answers: dict[RequestKey, str] = {}
    for each in planned:
        if (
            each.has_dialogues
            and (task := run.tasks.get(each.task.name)) is not None
            and task.texts is not None
        ):
            names = (task.rows["id"].to_pylist(), task.rows["repeat"].to_pylist())
            predictions = task.texts()["prediction"].to_pylist()
            answers |= {
                RequestKey(each.task.name, sample, repeat): text
                for sample, repeat, text in zip(*names, predictions, strict=True)
                if text is not None
            }
    return Pictures(planned, answers, budget=budget)


def _pictures_of_task(name: str, budget: int) -> Pictures:
    """Nobody knows how predictions from elsewhere were asked for, so there are no prompts."""
    from muster.tasks.plan import PlannedTask
    from muster.tasks.registry import load_tasks

    planned = [PlannedTask(task, task.source.load(), task.generation) for task in load_tasks([name])]
    return Pictures(planned, prompts=False, budget=budget)


def _timeline(run: LoadedRun) -> Timeline | None:
    if run.kind != KIND:
        return None
    folder = RunFolder(run.path)
    return timeline_of(folder.journal, load_snapshot(folder.progress))
