"""Which folders below a folder are runs, and that nothing outside of it is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from muster.core import ConfigurationError
from muster.core.text import printable
from muster.results.folder import RunFolder

DEEPEST = 6
"""Folders between the root and a run."""


class Found(NamedTuple):
    """A run folder."""

    name: str
    """Its path below the root, the root's own name where that is a run; see `shown_name`."""
    folder: RunFolder
    stamp: tuple[int, ...]
    """Changes when its manifest or its results do."""


def find_runs(root: Path) -> list[Found]:
    """The run folders below `root`, or `root` itself, sorted by name. Links to folders aren't followed."""
    if (found := _run(root, shown_name(root.name))) is not None:
        return [found]
    runs: list[Found] = []
    _search(root, "", 0, runs)
    return sorted(runs)


def shown_name(name: str) -> str:
    """A file's name in which what can't be shown is percent-encoded, and `%` itself, so that names stay distinct."""
    return "".join(
        each if each not in "%\n\t" and printable(each) == each else quote(os.fsencode(each), safe="")
        for each in name
    )


def check_inside(root: Path, folder: RunFolder) -> None:
    """Raise `ConfigurationError` where one of a run's files is a link that leads out of `root`."""
    base = root.resolve()
    for path in (folder.manifest, *folder.of_the_run, folder.lock_file, folder.lock_holder):
        if path.is_symlink() and not path.resolve().is_relative_to(base):
            raise ConfigurationError(f"{path.name} of this run is a link that leads out of {root}")
    if not folder.root.resolve().is_relative_to(base):
        raise ConfigurationError(f"this run is not below {root}")


def _search(folder: Path, name: str, depth: int, runs: list[Found]) -> None:
    try:
        with os.scandir(folder) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # gone in between, or not ours to read
        return
    for each in inner:
        if each.startswith("."):
            continue
        below = f"{name}/{shown_name(each)}" if name else shown_name(each)
        if (found := _run(folder / each, below)) is not None:
            runs.append(found)
        elif depth + 1 < DEEPEST:
            _search(folder / each, below, depth + 1, runs)


def _run(path: Path, name: str) -> Found | None:
    folder = RunFolder(path)
    manifest = _stamp(folder.manifest)
    return None if manifest is None else Found(name, folder, manifest + (_stamp(folder.results) or ()))


def _stamp(path: Path) -> tuple[int, ...] | None:
    """None of what is no file, or a link."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else None
