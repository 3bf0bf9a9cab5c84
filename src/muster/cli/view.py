"""`muster view`: a folder of runs in a browser."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from muster.view.answers import Answers
    from muster.view.server import ViewServer

PORT = 8642


def command(
    folder: Annotated[
        Path, typer.Argument(help="A folder with run folders in it, or a run folder.", show_default=False)
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen on. Whoever can reach it can read the runs.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            help=f"The port to listen on (default: {PORT}, another one where that is taken).",
            min=0,
            max=65535,
        ),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Leave the thumbnails out.")] = False,
) -> None:
    """Show a folder of runs in a browser: a list with search, trends over checkpoints, reports, comparisons.

    Runs that go on are shown live. Ends with Ctrl-C.
    """
    from muster.core import ConfigurationError
    from muster.view.answers import Answers
    from muster.view.catalogue import Catalogue
    from muster.view.hosts import is_loopback
    from muster.view.page_cache import PageCache

    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is not a folder")
    with tempfile.TemporaryDirectory(prefix="muster-view-") as scratch:
        answers = Answers(Catalogue(folder), PageCache(Path(scratch)), images=not no_images)
        with _listening(host, port, answers) as server:
            typer.echo(f"runs in {folder} at {server.url} (Ctrl-C ends it)")
            if not is_loopback(host):
                typer.echo(f"everybody who can reach {host} can read them: there is no password", err=True)
            server.serve_forever()


def _listening(host: str, port: int | None, answers: Answers) -> ViewServer:
    from muster.core import ConfigurationError
    from muster.view.server import ViewServer

    try:
        try:
            return ViewServer(host, PORT if port is None else port, answers)
        except OSError as error:
            if port is not None or error.errno != errno.EADDRINUSE:
                raise
            return ViewServer(host, 0, answers)
    except OSError as error:
        where = f"{host}:{PORT if port is None else port}"
        raise ConfigurationError(
            f"cannot listen on {where}: {error.strerror or error}. Choose another --port or --host"
        ) from error
