"""`muster repair`: drop from a run folder the answers that its run doesn't ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muster.cli.showing import phases_shown


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be dropped, and drop nothing.")
    ] = False,
) -> None:
    """Make a folder resumable again whose journal holds answers of other requests, or damaged lines.

    Says what it drops; the journal as it was is kept beside the new one.
    """
    from muster.config import load_config
    from muster.core.text import printable
    from muster.planning import plan
    from muster.results.folder import RunFolder
    from muster.results.manifest import Manifest
    from muster.results.repair import repair_journal

    folder = RunFolder(run)
    with phases_shown():
        planned = plan(load_config(Manifest.load(folder.manifest).config, env={}))
    with folder.lock():
        repair = repair_journal(folder, planned, dry_run=dry_run)
    if not repair.needed:
        typer.echo(f"nothing to drop: all {repair.kept} answers are of this run")
        return
    word = "would drop" if dry_run else "dropped"
    for task, count in repair.dropped.items():
        typer.echo(printable(f"{word} {count} answers of {task}, such as {repair.examples[task]}"))
    if repair.damaged:
        typer.echo(f"{word} {repair.damaged} damaged lines")
    typer.echo(f"{repair.kept} answers stay")
    if repair.backup is not None:
        typer.echo(f"the journal as it was: {repair.backup}")
