"""`muster explain`: why two numbers of one benchmark differ."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A run folder, or RUN@VARIANT: scored by that variant.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, or the same by another variant.")],
    via: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run between A and B, in which only some of the settings are B's; may be given several times."
        ),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="Only this task; may be given several times.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Divide the difference of two numbers among prompt, images, generation, extraction, scoring and aggregation.

    Works on kept answers: no model is asked.
    """
    from muster.cli.showing import phases_shown
    from muster.explain.explanation import explain
    from muster.explain.sides import parse_side, read_side

    named = [parse_side(text) for text in (a, *map(str, via or ()), b)]
    with phases_shown():
        sides = [read_side(each) for each in named]
        explanations = explain(sides[0], sides[-1], sides[1:-1], task or ())
    labels = [each.label for each in named]
    if json:
        import msgspec

        content = {"runs": labels, "tasks": explanations}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(content)).decode() + "\n")
        return
    from muster.report.console import terminal
    from muster.report.explanation_text import explanation_text

    terminal(width=None if sys.stdout.isatty() else 160).print(explanation_text(explanations, labels))
