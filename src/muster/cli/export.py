"""`muster export`: a run's answers in the files of other tools and of benchmark servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from muster.export.exporting import Exported
    from muster.result_files.scored_run import ScoredRun

FORMS = ("parquet", "csv", "jsonl", "lmms-eval", "vlmevalkit", "submission")


def command(
    run: Annotated[Path, typer.Argument(help="A run folder; the run may still go on.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help=f"The form: {', '.join(FORMS)}.", show_default=False)],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The file (tables) or the folder (all others) to write (default: in RUN/export)."),
    ] = None,
    xlsx: Annotated[
        bool, typer.Option("--xlsx", help="With --to vlmevalkit: a workbook instead of a TSV.")
    ] = False,
    benchmark: Annotated[
        str | None,
        typer.Option(help="With --to submission: whose server it is for (default: by the task's name)."),
    ] = None,
) -> None:
    """Write a run's answers as a table, as lmms-eval's or VLMEvalKit's files, or as a benchmark's server wants them."""
    from muster.cli.showing import phases_shown
    from muster.core import ConfigurationError
    from muster.core.phases import phase
    from muster.core.saying import tell
    from muster.core.text import did_you_mean
    from muster.result_files.scored_run import scored_run

    if to not in FORMS:
        raise ConfigurationError(f"--to {to}: no such form{did_you_mean(to, FORMS)} ({', '.join(FORMS)})")
    if xlsx and to != "vlmevalkit":
        raise ConfigurationError("--xlsx is for --to vlmevalkit")
    if benchmark is not None and to != "submission":
        raise ConfigurationError("--benchmark is for --to submission")
    with phases_shown(), phase(f"exporting {run}"), scored_run(run) as scored:
        exported = _export(scored, to, task or (), output, benchmark, xlsx=xlsx)
        if scored.note or not scored.results.complete:
            tell(f"muster: {scored.note or 'the run is not complete: what it has so far was exported'}")
    for note in exported.notes:
        tell(f"muster: {note}")
    for file in exported.files:
        typer.echo(f"wrote {file}")


def _export(
    run: ScoredRun,
    to: str,
    asked: list[str] | tuple[str, ...],
    output: Path | None,
    benchmark: str | None,
    *,
    xlsx: bool,
) -> Exported:
    from muster.core import ConfigurationError
    from muster.export.rows import chosen_tasks

    tasks = chosen_tasks(run, asked)
    target = output or run.folder.export
    match to:
        case "parquet" | "csv" | "jsonl":
            from muster.export.tables import export_table

            return export_table(run, to, tasks, output or target / f"samples.{to}")
        case "lmms-eval":
            from muster.export.lmms_eval import export_lmms_eval

            return export_lmms_eval(run, tasks, target)
        case "vlmevalkit":
            from muster.export.vlmevalkit import export_vlmevalkit

            return export_vlmevalkit(run, tasks, target, "xlsx" if xlsx else "tsv")
        case _:
            from muster.export.submission import export_submission

            if len(tasks) != 1:
                raise ConfigurationError(
                    f"--to submission writes one task: say --task NAME ({', '.join(tasks)})"
                )
            return export_submission(run, tasks[0], benchmark, target)
