"""`muster score`: score a run again, or predictions made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    task: Annotated[str | None, typer.Option(help="Score predictions made elsewhere for this task.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help='JSON lines: {"id": "17", "prediction": "C"}')
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples in the native format, instead of the task's own.")
    ] = None,
    per_sample: Annotated[Path | None, typer.Option(help="Write each sample's scores to this file.")] = None,
    scoring: Annotated[
        str | None,
        typer.Option(help="Whose conventions: lmms-eval, or several, or all (default: the run's or task's)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score a run from its journal, or a file of predictions. Needs no model."""
    from muster.core import ConfigurationError

    if run is not None and task is None and predictions is None:
        _score_folder(run, scoring, as_json=json)
    elif run is None and task is not None and predictions is not None:
        _score_file(task, predictions, samples, per_sample, scoring, as_json=json)
    else:
        raise ConfigurationError(
            "give a run folder (`muster score RUN`), or --task and --predictions for answers made elsewhere"
        )


def _score_folder(root: Path, scoring: str | None, *, as_json: bool) -> None:
    from muster.cli.run import show
    from muster.config import load_config
    from muster.planning import groups_of, plan
    from muster.results.folder import RunFolder
    from muster.results.manifest import Manifest
    from muster.results.scoring import score_run

    folder = RunFolder(root)
    manifest = Manifest.load(folder.manifest)
    asked = manifest.config if scoring is None else {**manifest.config, "scoring": scoring}
    planned = plan(load_config(asked, env={}))
    with folder.lock():
        results = score_run(folder, planned, manifest=manifest, timing=None, groups=groups_of(planned))
    show(results, as_json=as_json)


def _score_file(
    name: str,
    predictions: Path,
    samples_file: Path | None,
    per_sample: Path | None,
    scoring: str | None,
    *,
    as_json: bool,
) -> None:
    from muster.cli.run import show
    from muster.core import ConfigurationError
    from muster.results.predictions import score_predictions
    from muster.results.results import Results
    from muster.tasks.conventions import scored_by
    from muster.tasks.registry import load_tasks
    from muster.tasks.sources.native import NativeSource

    tasks = load_tasks([name])
    if len(tasks) != 1:
        raise ConfigurationError(
            f"--task {name} is {len(tasks)} tasks; predictions are scored for one: "
            + ", ".join(task.name for task in tasks)
        )
    task = scored_by(tasks[0], [part.strip() for part in (scoring or "").split(",") if part.strip()])
    samples = task.source.load() if samples_file is None else NativeSource(samples_file).load()
    scored = score_predictions(task, samples, predictions, per_sample)
    complete = scored.samples.errored == 0
    results = Results(run="", model=str(predictions), complete=complete, tasks={task.name: scored})
    show(results, as_json=as_json)
