"""Data in several files: a folder of shards, or a pattern of names."""

from __future__ import annotations

import re
from pathlib import Path

from muster.core import ConfigurationError
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.hub_layout import check_shards
from muster.tasks.sources.rows import FORMATS, is_known
from muster.tasks.sources.text_files import ending

_PATTERN = re.compile(r"[*?\[]")


def data_files(folder: BenchmarkFolder, name: str) -> list[Path]:
    """The file of this name; of a folder its data files, of a pattern those that match, part 2 before part 10.

    Raises:
        ConfigurationError: there are none, files of different formats are mixed, or shards are missing.
    """
    if _PATTERN.search(name) and not (folder.path / name).exists():
        found = _matching(folder, name)
        what = f"no file matches {name} in {folder.path}"
    else:
        place = folder.find(name)
        if not place.is_dir():
            return [place]
        found = [file for file in place.iterdir() if is_known(file.name)]
        if not found and is_known(name):
            return [place]  # told when it is read
        what = f"{place} is a folder without a data file ({', '.join(sorted(FORMATS))})"
    files = sorted((file for file in found if not file.name.startswith(".")), key=_by_number)
    if not files:
        raise ConfigurationError(what)
    formats = sorted({ending(file.name) for file in files})
    if len(formats) > 1:
        raise ConfigurationError(
            f"{folder.path / name}: files of different formats ({', '.join(formats)}); say which: `file: "
            f"{name.rstrip('/')}/*{formats[-1]}`"
            if not _PATTERN.search(name)
            else f"{folder.path / name} matches files of different formats ({', '.join(formats)}); narrow it down"
        )
    check_shards([str(file) for file in files], str(folder.path))
    return files


def _matching(folder: BenchmarkFolder, pattern: str) -> list[Path]:
    base = Path(pattern).anchor
    if base:  # an absolute pattern
        return [file for file in Path(base).glob(str(Path(pattern).relative_to(base))) if is_known(file.name)]
    found = [file for file in folder.path.glob(pattern) if is_known(file.name)]
    if not found and folder.downloads:
        folder.fetch()
        found = [file for file in folder.path.glob(pattern) if is_known(file.name)]
    return found


def _by_number(file: Path) -> list[tuple[int, str]]:
    """So that `part-2` comes before `part-10`."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"([0-9]+)", str(file))
        if part
    ]
