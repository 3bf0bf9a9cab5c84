"""`muster report`: one HTML file that shows what a run is worth, and every sample."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, or results of other tools; several are shown side by side.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The file (default: report.html in the first run).")
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Show the samples that all runs have, where they differ.")
    ] = False,
    predictions_of: Annotated[
        str | None,
        typer.Option(
            help="Score the files among RUNS as predictions for this task (docs/comparing.md).",
            metavar="TASK",
        ),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave the thumbnails out.")] = False,
) -> None:
    """Write a report: scores, what to distrust, where it is wrong, and a browser of all samples with their images.

    One file, no server and no network; works for a run that goes on, too.
    """
    from muster.cli.showing import phases_shown
    from muster.report.page.build import write_report

    target = output or (runs[0] / "report.html" if runs[0].is_dir() else runs[0].with_suffix(".report.html"))
    with phases_shown():
        write_report(runs, target, common=common, images=not no_images, predictions_of=predictions_of)
    typer.echo(f"report in {target} ({target.stat().st_size / 1e6:.1f} MB)")
