"""Draws the picture of docs/distributed.md from a real run: `python -m scripts.render_progress_image`.

The demo model with four replicas, of which one is killed on the way; a minute at most. Nothing in the picture is
written by hand but the prompt.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import psutil
from rich.console import Console
from rich.text import Text

from muster.config import load_config
from muster.report.display import Silent
from muster.report.live import render
from muster.results.snapshot import Snapshot
from muster.run import run

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 120
_WEB_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""A picture must not fetch anything when it is looked at."""


class Camera(Silent):
    """Implements `Display`: takes pictures of the progress."""

    def __init__(self, moments: list[Callable[[Snapshot], bool]]) -> None:
        """`moments`: each says whether it has come; they are waited for in order."""
        self.pictures: list[Text] = []
        self._moments = moments

    @contextmanager
    def show(self, look: Callable[[], Snapshot]) -> Iterator[None]:
        """Watch until the run is over, and take the last picture then."""
        over = threading.Event()

        def watch() -> None:
            for come in self._moments:
                while not come(look()):
                    if over.wait(0.01):
                        return
                self._take(look())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self._take(look())

    def _take(self, snapshot: Snapshot) -> None:
        console = new_console()
        console.print(render(snapshot))
        self.pictures.append(Text.from_ansi(console.export_text(styles=True).rstrip("\n")))


def new_console() -> Console:
    """A terminal that remembers what was printed."""
    return Console(record=True, force_terminal=True, color_system="truecolor", width=WIDTH, file=StringIO())


def killed_replica(target: Path) -> None:
    """The progress of a run with four replicas, shortly after one was killed."""
    when: dict[str, float] = {}

    def shot(snapshot: Snapshot) -> bool:
        if "killed" not in when and snapshot.done > snapshot.total * 0.25:
            kill_a_worker()
            when["killed"] = time.monotonic()
        restarted = "started again" in snapshot.notice
        return restarted and snapshot.done > snapshot.total * 0.6

    camera = Camera([shot])
    options = {"model": "demo", "tasks": "digits", "replicas": 4, "batch_size": 1}
    with tempfile.TemporaryDirectory() as folder:
        run(load_config({**options, "output": f"{folder}/run"}), camera)
    console = new_console()
    console.print(
        "[bold green]$[/] muster run --model demo --tasks digits --replicas 4 --batch-size 1", highlight=False
    )
    console.print(camera.pictures[0])
    save(console, target, "one of four replicas was killed")


def kill_a_worker() -> None:
    """SIGKILL to one of this process's workers."""
    for process in psutil.Process(os.getpid()).children():
        if "muster.worker.worker" in process.cmdline():
            process.send_signal(signal.SIGKILL)
            return
    sys.exit("there is no worker to kill")


def save(console: Console, target: Path, title: str) -> None:
    """Write the picture; equal pictures are equal files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = console.export_svg(title=title, unique_id=target.stem)
    target.write_text(_WEB_FONTS.sub("", picture), encoding="utf-8")
    print(target)


def main() -> None:
    """Draw the picture into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=IMAGES)
    output: Path = parser.parse_args().output
    killed_replica(output / "killed-replica.svg")


if __name__ == "__main__":
    main()
