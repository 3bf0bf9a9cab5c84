"""What a benchmark has to have downloaded: files with checksums, archives with contents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from muster.core import ConfigurationError, RunError
from muster.tasks.sources.archives import UnsafeArchiveError, unpack
from muster.tasks.sources.cache import locked
from muster.tasks.sources.http import RefusedError, UnreachableError, download
from muster.tasks.sources.offline import offline_variable


@dataclass(frozen=True, slots=True)
class Download:
    """One file from a web server."""

    url: str
    algorithm: Literal["sha256", "md5"] | None = None
    checksum: str = ""
    """In hexadecimal."""
    to: str = ""
    """Its name in the benchmark's folder; by default the last part of the address. For an archive that is
    unpacked, the folder that its contents go into; by default the benchmark's folder itself."""
    unpacked: bool = False

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(unquote(urlsplit(self.url).path)).name

    def target(self, folder: Path) -> Path:
        """Where the file goes; an archive stays there too."""
        return folder / (self.name if self.unpacked else self.to or self.name)


def fetch_all(downloads: Sequence[Download], folder: Path) -> None:
    """Fetch what `folder` lacks, one process of this node at a time.

    Raises:
        ConfigurationError: a file can't be had: no network, not on the server, a wrong checksum, an archive that
            reaches out of the folder. Says what to place where.
        RunError: the disk is full or a download broke off.
    """
    for each in downloads:
        target = each.target(folder)
        with locked(target, f"downloads {each.name}"):
            try:
                if not target.exists():
                    _fetch(each, target)
                if each.unpacked:
                    _unpack(target, folder / each.to)
            except OSError as error:
                raise RunError(
                    f"{target} can't be written: {error.strerror or error}; --data names another place for benchmarks"
                ) from error


def wrong_checksums(downloads: Sequence[Download], folder: Path) -> list[str]:
    """What is wrong with files that are there already, placed by hand perhaps: checksums that don't match."""
    return [
        f"{target}: {problem}"
        for each in downloads
        if (target := each.target(folder)).is_file() and (problem := _mismatch(each, target))
    ]


def _fetch(each: Download, target: Path) -> None:
    place = f"Place the file at {target}{_sum(each)}, or name the folder that has it: --data TASK=DIR"
    if variable := offline_variable():
        raise ConfigurationError(f"{each.url} has to be downloaded, and {variable} is set. {place}")
    try:
        content = download(each.url, target)
    except UnreachableError as error:
        raise ConfigurationError(f"{each.url} can't be downloaded: {error}. {place}") from error
    except RefusedError as error:
        raise ConfigurationError(f"{each.url} is not to be had: the server says {error}. {place}") from error
    if problem := _mismatch(each, content):
        content.unlink()
        raise ConfigurationError(
            f"{each.url}: {problem}. The file on the server is another one, or something on the way changed it; "
            "it was removed"
        )
    content.replace(target)


def _unpack(archive: Path, folder: Path) -> None:
    """Once: a note beside the archive says that it was done."""
    done = archive.with_name(f".{archive.name}.unpacked")
    if done.exists() and folder.exists():
        return
    try:
        unpack(archive, folder)
    except UnsafeArchiveError as error:
        raise ConfigurationError(f"{archive} was not unpacked: {error}") from error
    done.touch()


def _mismatch(each: Download, file: Path) -> str | None:
    if each.algorithm is None:
        return None
    with file.open("rb") as content:
        found = hashlib.file_digest(content, each.algorithm).hexdigest()
    if found == each.checksum.lower():
        return None
    return f"its {each.algorithm} is {found}, not {each.checksum.lower()} as the task file says"


def _sum(each: Download) -> str:
    return f" ({each.algorithm} {each.checksum})" if each.algorithm else ""
