"""Archives from the network, unpacked without letting them reach out of their folder or fill the disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Protocol, cast

MOST_TIMES_LARGER = 300
"""How many times the archive's size its contents may have; images don't shrink, JSON does by ten or twenty."""
ALWAYS_ALLOWED = 64 << 20
"""Bytes of contents that even a tiny archive may have."""
KEPT_FREE = 1 << 30
"""Bytes of the disk that are left alone."""
MOST_MEMBERS = 4_000_000
"""Files and folders: each costs memory here and an inode there, however small the archive is."""
DEEPEST = 64
"""Folders in each other."""
MOST_AT_ONCE = 16 << 20
"""Bytes of one header: names are short, and a compressed header of gigabytes would fill the memory."""
_BLOCK = 1 << 20
_ENCRYPTED = 1
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    gzip.BadGzipFile,
)
"""What the standard library raises for archives that are none, or torn."""


class UnsafeArchiveError(Exception):
    """The archive is broken, or holds what no benchmark needs; says which member."""


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    """As the archive says."""
    kind: str
    """`file`, `folder`, or what else it is."""


class _Archive(Protocol):
    def members(self) -> Iterator[_Member]: ...

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]: ...


def unpack(archive: Path, folder: Path) -> None:
    """Write the archive's files below `folder`, over what is there. Zip, and tar however it is compressed.

    Only plain files are written, each under its own name first when it is whole. All names and sizes are checked
    before the first byte is written.

    Raises:
        UnsafeArchiveError: a member's path leads out of the folder, it is a link or a device, the contents are
            suspiciously large or many or don't fit on the disk, or the archive is broken.
        OSError: a file can't be written.
    """
    with _opened(archive) as content:
        members = _checked(content, archive.stat().st_size)
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(sum(member.size for member in members), folder)
        for member in members:
            target = folder / member.name
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            if not target.parent.resolve().is_relative_to(folder.resolve()):
                raise UnsafeArchiveError(f"{member.name!r} leads through a link out of {folder}")
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.part")
            with content.open(member.name) as source, temporary.open("wb") as out:
                _copy(source, out, member)
            temporary.replace(target)


def _checked(content: _Archive, size: int) -> list[_Member]:
    """All members, each checked before the next one is looked for: to get there a tar has to be decompressed."""
    members: list[_Member] = []
    total = 0
    most = max(ALWAYS_ALLOWED, MOST_TIMES_LARGER * size)
    for member in content.members():
        _check_name(member)
        members.append(member)
        total += member.size
        if total > most:
            raise UnsafeArchiveError(
                f"its contents are at least {total >> 20} MiB, more than {MOST_TIMES_LARGER} times its own size: no "
                "honest archive of images is. Unpack it by hand if you trust it"
            )
        if len(members) > MOST_MEMBERS:
            raise UnsafeArchiveError(
                f"it has more than {MOST_MEMBERS:,} members. Unpack it by hand if you trust it"
            )
    return members


def _check_name(member: _Member) -> None:
    if member.kind not in ("file", "folder"):
        raise UnsafeArchiveError(f"{member.name!r} is a {member.kind}; only files and folders are unpacked")
    path = PurePosixPath(member.name)
    outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name
    if outside or PureWindowsPath(member.name).drive or (member.kind == "file" and not path.name):
        raise UnsafeArchiveError(f"{member.name!r} leads out of the folder that it is unpacked into")
    if member.size < 0:
        raise UnsafeArchiveError(f"{member.name!r} has a size below zero")
    if len(path.parts) > DEEPEST:
        raise UnsafeArchiveError(f"{member.name[:80]!r}… is more than {DEEPEST} folders deep")


def _check_room(total: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if total > free - KEPT_FREE:
        raise UnsafeArchiveError(
            f"its contents are {total >> 20} MiB, and {folder} has {free >> 20} MiB free (1024 MiB are left alone)"
        )


def _copy(source: IO[bytes], out: IO[bytes], member: _Member) -> None:
    """What the member said of its size counts: a header may lie."""
    left = member.size
    try:
        while block := source.read(min(_BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                raise UnsafeArchiveError(f"{member.name!r} is larger than the archive says")
            out.write(block)
    except _BROKEN as error:
        raise UnsafeArchiveError(f"{member.name!r} is broken: {error}") from error
    if left:
        raise UnsafeArchiveError(f"{member.name!r} is cut off")


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as stream:
        begin = stream.read(6)
    if begin.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(archive))
    if begin.startswith(b"BZh"):
        return cast("IO[bytes]", bz2.open(archive))
    if begin.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return cast("IO[bytes]", lzma.open(archive))
    return archive.open("rb")


class _Bounded(io.RawIOBase):
    """A tar's bytes; nobody may ask for more at once than a header or a block has."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_AT_ONCE:
            raise UnsafeArchiveError(f"a header claims to have {max(size, 0) >> 20} MiB")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _opened(archive: Path) -> Iterator[_Archive]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                yield _Zip(content)
        else:
            with (
                _decompressed(archive) as stream,
                tarfile.open(fileobj=_Bounded(stream), mode="r:") as content,
            ):
                yield _Tar(content)
    except (*_BROKEN, NotImplementedError) as error:
        raise UnsafeArchiveError(f"it is no zip or tar archive that can be read: {error}") from error


@dataclass(frozen=True, slots=True)
class _Zip:
    content: zipfile.ZipFile

    def members(self) -> Iterator[_Member]:
        for info in self.content.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "link" if stat.S_ISLNK(mode) else "file"
            if info.flag_bits & _ENCRYPTED:
                kind = "file with a password"
            yield _Member(info.filename, info.file_size, kind)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        return self.content.open(name)


@dataclass(frozen=True, slots=True)
class _Tar:
    content: tarfile.TarFile

    def members(self) -> Iterator[_Member]:
        for info in self.content:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "link or device"
            yield _Member(info.name, info.size, kind)

    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        stream = self.content.extractfile(name)
        if stream is None:
            raise UnsafeArchiveError(f"{name!r} is no file")
        return stream
