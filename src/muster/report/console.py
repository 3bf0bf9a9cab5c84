"""The terminal, for everything that Muster shows: what models, servers, workers and files said can't steer it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from muster.core.text import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult


def terminal(
    *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False, highlight: bool = True
) -> Console:
    """A rich console whose every text has gone through `printable`; colours are Rich's own."""
    from rich.console import Console, RenderHook

    class Hook(RenderHook):
        def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
            return [_Printable(each) for each in renderables]

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError(
                errno.EPIPE, os.strerror(errno.EPIPE)
            )  # `| head`: no word, as for other output

    kind = Console if stderr else Terminal
    console = kind(stderr=stderr, width=width, soft_wrap=soft_wrap, highlight=highlight)
    console.push_render_hook(Hook())
    return console


class _Printable:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        segments: Iterable[Segment] = console.render(self._inner, options)
        for text, style, control in segments:
            yield Segment(text if control else printable(text), style, control)
