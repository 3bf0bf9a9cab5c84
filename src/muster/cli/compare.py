"""`muster compare`: which run is better, on the same samples, and what else differs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from muster.compare.comparison import Comparison
    from muster.result_files.loaded import LoadedRun


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, or results of other tools; the first is the baseline.", show_default=False
        ),
    ],
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the samples that all runs have, where they differ.")
    ] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Every run against every other, not only the baseline.")
    ] = False,
    by: Annotated[
        list[str] | None, typer.Option(help="Break differences down by this field of the samples' metadata.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="Samples with equal values of this metadata field depend on each other (default: a shared image)."
        ),
    ] = None,
    weights: Annotated[
        str, typer.Option(help="All tasks together: each the same (tasks), or by size (samples).")
    ] = "tasks",
    flips: Annotated[int, typer.Option(help="How many samples to name that got better or worse.", min=0)] = 3,
    predictions_of: Annotated[
        str | None,
        typer.Option(
            help="Score the files among RUNS as predictions for this task (docs/comparing.md).",
            metavar="TASK",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with the samples behind the numbers, too (docs/reports.md).", metavar="FILE"
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, all samples named.")
    ] = False,
) -> None:
    """Compare runs sample by sample: differences with intervals and exact tests, ties, flips, other settings."""
    from muster.cli.showing import phases_shown
    from muster.compare.comparison import compare
    from muster.core import ConfigurationError
    from muster.result_files.reading import read_runs

    if weights not in ("tasks", "samples"):
        raise ConfigurationError(f"--weights {weights}: say tasks or samples")
    with phases_shown():
        found = read_runs(runs, predictions_of)
        comparison = compare(
            found,
            common=common,
            all_pairs=all_pairs,
            tasks=task or None,
            by=by or (),
            cluster=cluster,
            weights="tasks" if weights == "tasks" else "samples",
        )
        if html is not None:
            _write_page(html, found, comparison, common=common, predictions_of=predictions_of)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(comparison)).decode() + "\n")
        return
    from muster.report.comparison_text import comparison_text
    from muster.report.console import terminal

    console = terminal(width=None if sys.stdout.isatty() else 140)
    console.print(comparison_text(comparison, flips=flips))


def _write_page(
    file: Path,
    runs: Sequence[LoadedRun],
    comparison: Comparison,
    *,
    common: bool,
    predictions_of: str | None,
) -> None:
    from muster.report.page.build import pictures_of, report_of, write
    from muster.report.page.page import page

    pictures = pictures_of(runs, predictions_of)
    write(page(report_of(runs, common=common, comparison=comparison, pictures=pictures)), file)
    typer.echo(f"page in {file} ({file.stat().st_size / 1e6:.1f} MB)", err=True)
