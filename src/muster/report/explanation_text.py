"""Explanations for the terminal: both numbers, and a row per factor, the largest share first."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from muster.explain.explanation import Explanation, Factor


def explanation_text(explanations: Sequence[Explanation], labels: Sequence[str]) -> RenderableType:
    """All of it, for `Console.print`. `labels`: the runs in order, A first and B last."""
    parts: list[RenderableType] = [Text(f"A  {labels[0]}"), Text(f"B  {labels[-1]}")]
    parts += [Text(f"   by way of {each}") for each in labels[1:-1]]
    for each in explanations:
        parts += [Text(""), _task(each)]
    return Group(*parts)


def _task(explanation: Explanation) -> RenderableType:
    head = (
        f"{explanation.task}: A {_number(explanation.a, explanation)}, B {_number(explanation.b, explanation)}, "
        f"difference {_signed(explanation.gap, explanation)}"
    )
    remarks = [f"{explanation.pairs:,} answers are paired."]
    if explanation.unscored:
        remarks.append(
            f"{explanation.unscored:,} of them had no score by one of the rules or their mixtures."
        )
    if not explanation.factors:
        return Group(Text(head), Text("  Nothing differs: the same answers, scored by the same rule."))
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("factor")
    for name in ("share", "95 %", "alone", "last", "answers changed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("what differs")
    for factor in explanation.factors:
        table.add_row(*_row(factor, explanation))
    return Group(Text(head), Padding(table, (0, 0, 0, 2)), Text("  " + " ".join(remarks)))


def _row(factor: Factor, explanation: Explanation) -> list[Text]:
    interval = ""
    if factor.interval is not None:
        interval = f"{_signed(factor.interval[0], explanation)} to {_signed(factor.interval[1], explanation)}"
    details = list(factor.details[:4])
    if len(factor.details) > len(details):
        details.append(f"and {len(factor.details) - len(details)} more")
    if factor.examples:
        details.append(f"such as {', '.join(factor.examples)}")
    cells = [
        factor.name, _signed(factor.share, explanation), interval, _signed(factor.alone, explanation),
        _signed(factor.last, explanation), "" if factor.changed is None else f"{factor.changed:,}", "\n".join(details),
    ]  # fmt: skip
    return [Text(cell) for cell in cells]


def _number(value: float, explanation: Explanation) -> str:
    return f"{value:.4f}" if explanation.unit == "0-1" else f"{value:,.2f}"


def _signed(value: float, explanation: Explanation) -> str:
    shown = _number(abs(value), explanation)
    return shown if not float(shown.replace(",", "")) else f"{'+' if value > 0 else '−'}{shown}"
