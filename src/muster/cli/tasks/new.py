"""`muster tasks new`: a commented task file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="The task's name: small letters, digits and underscores.")],
    folder: Annotated[Path, typer.Option(help="Where the files are written.")] = Path(),
) -> None:
    """Write a commented task file with a tiny benchmark of its own, to be changed into yours."""
    from muster.tasks.starter import write_starter

    file = write_starter(name, folder)
    typer.echo(f"wrote {file}, {name}.jsonl and {name}_images/ beside it. Next:")
    typer.echo(f"  muster tasks check {file}")
    typer.echo(f"  muster run --model demo --tasks {file}")
