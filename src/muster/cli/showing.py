"""What shows a command's work while it goes on: bars on a terminal, lines in a log, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from muster.report.display import Display


def choose_display(
    kind: Literal["auto", "rich", "plain", "none"] = "auto", *, as_json: bool = False
) -> Display:
    """`auto`: bars where standard error is a terminal, unless JSON is asked for; else lines."""
    if kind == "none":
        from muster.report.display import Silent

        return Silent()
    from muster.report.console import terminal
    from muster.report.displays import PlainDisplay, RichDisplay

    console = terminal(stderr=True)
    if kind == "rich" or (kind == "auto" and console.is_terminal and not as_json):
        return RichDisplay(console)
    return PlainDisplay(console)


@contextmanager
def phases_shown() -> Iterator[None]:
    """Show what takes long within this context: reading rows, downloading, scoring."""
    from muster.core.phases import shown_by

    with shown_by(choose_display().phase):
        yield
