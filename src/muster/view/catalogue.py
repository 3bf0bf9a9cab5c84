"""The runs of a folder, kept in memory and read again where a file has changed."""

from __future__ import annotations

import threading
from pathlib import Path

from muster.core import ConfigurationError
from muster.results.folder import RunFolder
from muster.results.manifest import Attempt
from muster.results.snapshot import load_snapshot
from muster.view.discovery import Found, check_inside, find_runs
from muster.view.summary import Summary, may_be_running, now_running, summarise

_PIECE = 1 << 20


class NoSuchRunError(Exception):
    """There is no run of this name."""


class Catalogue:
    """All that is known of the runs below `root`. May be used by several threads."""

    def __init__(self, root: Path) -> None:
        """Nothing is read yet."""
        self.root = root.resolve()
        self._known: dict[str, tuple[tuple[int, ...], Summary, Attempt | None]] = {}
        self._lines: dict[str, _Lines] = {}
        self._lock = threading.Lock()

    def runs(self) -> list[Summary]:
        """All of them, by name, as their files are now."""
        found = find_runs(self.root)
        with self._lock:
            names = {each.name for each in found}
            for gone in self._known.keys() - names:
                del self._known[gone]
                self._lines.pop(gone, None)
            return [self._summary(each) for each in found]

    def run(self, name: str) -> tuple[Summary, RunFolder]:
        """One of them, and its folder.

        Raises `NoSuchRunError`, and `ConfigurationError` where its files lead elsewhere.
        """
        found = next((each for each in find_runs(self.root) if each.name == name), None)
        if found is None:
            raise NoSuchRunError(name)
        check_inside(self.root, found.folder)
        with self._lock:
            return self._summary(found), found.folder

    def _summary(self, found: Found) -> Summary:
        known = self._known.get(found.name)
        if known is None or known[0] != found.stamp:
            known = (found.stamp, *summarise(found))
            self._known[found.name] = known
        _, summary, last = known
        if not may_be_running(last) or summary.problem:
            return summary
        try:
            check_inside(self.root, found.folder)
        except ConfigurationError:
            return summary
        if not found.folder.is_locked():
            return summary
        lines = self._lines.setdefault(found.name, _Lines())
        snapshot = load_snapshot(found.folder.progress)
        return now_running(summary, lines.count(found.folder.journal), snapshot)


class _Lines:
    """How many lines a file has to which lines are appended."""

    def __init__(self) -> None:
        self._read = 0
        self._lines = 0

    def count(self, path: Path) -> int:
        try:
            with path.open("rb") as file:
                if file.seek(0, 2) < self._read:  # another file
                    self._read = self._lines = 0
                file.seek(self._read)
                while piece := file.read(_PIECE):
                    self._read += len(piece)
                    self._lines += piece.count(b"\n")
        except OSError:
            return 0
        return self._lines
