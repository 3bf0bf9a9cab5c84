"""Makes a report from result files: loads, aligns, compares, writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from muster.compare.comparison import compare
from muster.compare.pairing import align
from muster.core import ConfigurationError, RequestKey, RunError
from muster.report.page.content import Report
from muster.report.page.page import page
from muster.report.page.pictures import Pictures
from muster.report.page.timeline import Timeline, timeline_of
from muster.result_files.loaded import LoadedRun
from muster.result_files.muster_run import KIND, is_muster_run
from muster.result_files.reading import read_runs
from muster.results.files import replacing
from muster.results.folder import RunFolder

MOST_RUNS = 9
"""One key each."""


def write_report(
    paths: Sequence[Path], output: Path, *, common: bool = False, images: bool = True
) -> list[LoadedRun]:
    """Write the report of the results at `paths` to `output`; several are compared, the first the baseline.

    Returns what was read. Raises `ConfigurationError` as `compare` does, `RunError` where the file can't be written.
    """
    if len(paths) > MOST_RUNS:
        raise ConfigurationError(f"{len(paths)} runs are too many for one page: at most {MOST_RUNS}")
    runs = read_runs(paths)
    report = Report(
        runs=runs,
        aligned=align(runs, common=common),
        pictures=_pictures(runs) if images else Pictures([]),
        comparison=compare(runs, common=common) if len(runs) > 1 else None,
        timelines=[_timeline(run) for run in runs],
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(page(report))
    except OSError as error:
        raise RunError(f"cannot write the report {output}: {error.strerror or error}") from error
    return runs


def _timeline(run: LoadedRun) -> Timeline | None:
    return timeline_of(RunFolder(run.path).journal) if run.kind == KIND else None


def _pictures(runs: Sequence[LoadedRun]) -> Pictures:
    """From the data of the first run that is Muster's; none where it isn't to be had any more."""
    from muster.config import load_config
    from muster.planning import plan
    from muster.results.manifest import Manifest

    run = next((run for run in runs if is_muster_run(run.path)), None)
    if run is None:
        return Pictures([])
    try:
        planned = plan(load_config(Manifest.load(RunFolder(run.path).manifest).config, env={}))
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
    return Pictures(planned, answers)
