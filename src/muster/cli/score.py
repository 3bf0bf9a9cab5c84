"""`muster score`: score a run again, or predictions made elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from muster.cli.showing import phases_shown

if TYPE_CHECKING:
    from muster.judging.judge import JudgeSpec
    from muster.results.results import Results

Form = Literal["table", "json", "markdown", "csv"]
OPTIONS_OF_RUN = ("scoring", "thinking", "judge", "judge_backend", "judge_args")


def command(
    run: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    task: Annotated[str | None, typer.Option(help="Score predictions made elsewhere for this task.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help='{"id": "17", "prediction": "C"} per line, a table, or what lmms-eval or VLMEvalKit wrote'
        ),
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Samples in the native format, instead of the task's own.")
    ] = None,
    per_sample: Annotated[Path | None, typer.Option(help="Write each sample's scores to this file.")] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            help="With --predictions: the file that keeps the judge's verdicts (default: PREDICTIONS.verdicts.jsonl)."
        ),
    ] = None,
    import_verdicts: Annotated[
        Path | None,
        typer.Option(help="Verdicts recorded elsewhere: rows with id and verdict (JSON lines, CSV …)."),
    ] = None,
    accept_changes: Annotated[
        bool,
        typer.Option(
            "--accept-changes", help="Score a run although its data was changed since; results say so."
        ),
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Show the scores of each value of this field of the samples' metadata."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print them as a Markdown table.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print them as CSV, unrounded.")] = False,
    **given: Any,
) -> None:
    """Score a run from its journal, or a file of predictions. Needs no model, and a judge where one was asked for."""
    from muster.core import ConfigurationError

    if json + markdown + csv > 1:
        raise ConfigurationError("--json, --markdown and --csv: give one of them")
    form: Form = "json" if json else "markdown" if markdown else "csv" if csv else "table"
    keys = _words(",".join(by or ()))
    scoring, thinking = given.get("scoring"), given.get("thinking")
    spec = _judge(given.get("judge"), given.get("judge_backend"), given.get("judge_args"))
    if spec is not None and import_verdicts is not None:
        raise ConfigurationError(
            "--judge asks for verdicts, --import-verdicts brings them: give one of the two"
        )
    if run is not None and task is None and predictions is None:
        with phases_shown():
            results = _score_folder(
                run, scoring, thinking, spec, import_verdicts, keys, accept_changes=accept_changes
            )
    elif run is None and task is not None and predictions is not None:
        with phases_shown():
            results = _score_file(
                task,
                predictions,
                samples,
                per_sample,
                scoring,
                thinking,
                spec,
                verdicts,
                import_verdicts,
                keys,
            )
    else:
        raise ConfigurationError(
            "give a run folder (`muster score RUN`), or --task and --predictions for answers made elsewhere"
        )
    _finish(results, form, keys, judged=spec is not None)


def _judge(model: str | None, backend: str | None, args: str | None) -> JudgeSpec | None:
    from muster.core import ConfigurationError
    from muster.judging.judge import judge_spec
    from muster.settings_text import parse_model_args

    try:
        parsed = parse_model_args(args or "")
    except ValueError as error:
        raise ConfigurationError(f"--judge-args: {error} (got {args!r})") from None
    return judge_spec(model, backend, parsed)


def _score_folder(
    root: Path,
    scoring: str | None,
    thinking: str | None,
    judge: JudgeSpec | None,
    recorded: Path | None,
    by: Sequence[str],
    *,
    accept_changes: bool,
) -> Results:
    from dataclasses import replace

    from muster.config import load_config
    from muster.core import ConfigurationError
    from muster.core.saying import tell
    from muster.judging.afterwards import recorded_on_run, verdicts_on_run
    from muster.planning import groups_of, plan
    from muster.results.belonging import changed_since, check_answers_are_there, check_belongs
    from muster.results.folder import RunFolder
    from muster.results.manifest import Manifest
    from muster.results.scoring import score_run
    from muster.tasks.breakdowns import with_breakdowns

    folder = RunFolder(root)
    manifest = Manifest.load(folder.manifest)
    again = {"scoring": scoring, "thinking": thinking}
    given = {name: value for name, value in again.items() if value is not None}
    planned = plan(load_config({**manifest.config, **given}, env={}))
    tasks = with_breakdowns([(each.task, each.samples) for each in planned], by)
    planned = [replace(each, task=task) for each, task in zip(planned, tasks, strict=True)]
    check_belongs(folder, manifest.run)
    check_answers_are_there(folder)
    changed = changed_since(manifest, planned)
    if changed and not accept_changes:
        raise ConfigurationError(
            "the data of this run was changed since its answers were given:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nPut it back as it was, or score all the same with --accept-changes, which results.json then says"
        )
    if changed:
        tell(f"muster: scored with data that was changed since the answers were given: {'; '.join(changed)}")
    with folder.lock():
        verdicts = None if judge is None else verdicts_on_run(judge, folder, manifest.run, planned)
        if recorded is not None:
            verdicts = recorded_on_run(recorded, folder, manifest.run, planned)
        return score_run(
            folder,
            planned,
            manifest=manifest,
            timing=None,
            groups=groups_of(planned),
            verdicts=verdicts,
            changed=changed,
        )


def _score_file(
    name: str,
    predictions: Path,
    samples_file: Path | None,
    per_sample: Path | None,
    scoring: str | None,
    thinking: str | None,
    judge: JudgeSpec | None,
    verdicts: Path | None,
    recorded: Path | None,
    by: Sequence[str],
) -> Results:
    from muster.core import ConfigurationError
    from muster.judging.afterwards import PredictionsJudge
    from muster.results.predictions import score_predictions
    from muster.results.results import JudgeResults, Results
    from muster.tasks.breakdowns import with_breakdowns
    from muster.tasks.registry import load_tasks
    from muster.tasks.scoring_variants import scored_by
    from muster.tasks.sources.native import NativeSource

    tasks = load_tasks([name])
    if len(tasks) != 1:
        raise ConfigurationError(
            f"--task {name} is {len(tasks)} tasks; predictions are scored for one: "
            + ", ".join(task.name for task in tasks)
        )
    try:
        task = scored_by(tasks[0], _words(scoring), _words(thinking))
    except ValueError as error:
        raise ConfigurationError(f"--thinking: {error}") from None
    samples = task.source.load() if samples_file is None else NativeSource(samples_file).load()
    [task] = with_breakdowns([(task, samples)], by)
    judged = PredictionsJudge(judge, verdicts or predictions.with_suffix(".verdicts.jsonl"), task, recorded)
    scored = score_predictions(task, samples, predictions, per_sample, judged)
    book = judged.book
    return Results(
        run="",
        model=str(predictions),
        complete=scored.samples.errored == 0,
        tasks={task.name: scored},
        judge=JudgeResults(book.judge.model, book.usage()) if book.judge else None,
    )


def _words(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _show(results: Results, form: Form, by: Sequence[str]) -> None:
    from muster.cli.run import show

    if form == "json" or (form == "table" and not by):
        show(results, as_json=form == "json")
        return
    from muster.report.score_rows import as_csv, as_markdown, breakdown_table, score_rows

    rows = score_rows(results, by)
    if form == "table":
        from rich.console import Console

        console = Console() if sys.stdout.isatty() else Console(width=140)
        console.print(breakdown_table(rows))
    else:
        sys.stdout.write(as_csv(rows) if form == "csv" else as_markdown(rows))


def _finish(results: Results, form: Form, by: Sequence[str], *, judged: bool) -> None:
    """Show the scores; exit 3, as a run would, where a metric failed on answers or a judge that was asked left some."""
    from muster.cli.run import tell_unscorable, tell_unscored
    from muster.results.results import TOO_MANY_FAILURES

    _show(results, form, by)
    tell_unscored(results)
    tell_unscorable(results, "this command again")
    if results.unscorable or (judged and results.unscored):
        raise typer.Exit(TOO_MANY_FAILURES)
