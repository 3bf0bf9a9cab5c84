"""What another toolkit's catalogue has, and what of it runs here."""

from __future__ import annotations

from collections.abc import Iterator

from muster.toolkits.loading import open_session
from muster.toolkits.messages import Listed
from muster.toolkits.options import ToolkitOptions


def list_catalogue(toolkit: str, options: ToolkitOptions, only: str = "") -> Iterator[Listed]:
    """Every task and group of a toolkit, in its order, as each is looked at; `only` is a pattern such as `mmmu*`.

    No data is loaded or fetched. Raises `ConfigurationError` where the toolkit isn't there.
    """
    for frame in open_session(toolkit, options).ask({"do": "list", "only": only}):
        yield frame.read(Listed)
