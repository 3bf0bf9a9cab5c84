"""Pieces of HTML: escaped text, links that set the sample browser's filters, numbers with the digits they deserve."""

from __future__ import annotations

import math
from html import escape
from urllib.parse import urlencode

from muster.core.text import printable, valid_text


def text(value: object, longest: int = 2000) -> str:
    """Escaped for text and attributes, cut at `longest`; what turns or hides text is written as an escape."""
    found = valid_text("–" if value is None else str(value))
    return escape(printable(found if len(found) <= longest else f"{found[: longest - 1]}…"))


def link(label: str, *, bad: bool = False, title: str = "", **filters: object) -> str:
    """A link that sets the filters of the samples; what it leads to stands in the address too."""
    wanted = {key: str(value) for key, value in filters.items() if not (key == "run" and value == 0)}
    target = text(urlencode(wanted))
    attributes = (' class="bad"' if bad else "") + (f' title="{text(title)}"' if title else "")
    return f'<a href="#{target}" data-go="{target}"{attributes}>{text(label)}</a>'


def number(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """No more digits than the interval supports."""
    if value is None or math.isnan(value):
        return "–"
    width = 0.0 if interval is None else interval[1] - interval[0]
    digits = 4 if width <= 0 else min(6, max(0, 1 - math.floor(math.log10(width))))
    return f"{value:.{digits}f}"


def count_of(count: int, what: str) -> str:
    """`1 replica`, `8 replicas`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """`14 min 03 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def table(heads: list[str], rows: list[str], *, numbers: int = 0, compact: bool = False) -> str:
    """A table of finished rows; the last `numbers` columns hold numbers."""
    first = len(heads) - numbers
    cells = "".join(
        f'<th scope="col"{" class=number" if place >= first else ""}>{head}</th>'
        for place, head in enumerate(heads)
    )
    kind = ' class="compact"' if compact else ""
    body = "".join(rows)
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'
    )
