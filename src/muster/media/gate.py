"""The one way to a media file: a regular file, below the folders that its data may name, links followed.

Data is written by others. A row may name `/etc/passwd`, a link that leads to it, a pipe that never says anything or a
device that never ends, and what is opened here may be sent to a server. So whatever opens an image, a video or
subtitles asks here first, in the process that opens it.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from muster.core import Media, Message, Part, Request, SampleError
from muster.media.extents import read_extent

VARIABLE = "MUSTER_MEDIA_FOLDERS"
"""Further folders that media may lie in, as this machine's user says; parted as in `PATH`."""
MOST_BYTES = 1 << 30
"""Of a file that is read as a whole."""


def media_file(media: Media) -> Path:
    """Where a media item's file really is: links followed, checked as `checked_path` says; `media.path` must be set."""
    return checked_path(media.path or "", media.within, folder=media.kind == "video")


def open_media(media: Media) -> BinaryIO:
    """A media item's file, opened, wherever it is. To be closed by the caller.

    Raises:
        SampleError: it can't be had; in words that fit behind its name.
    """
    if media.data is not None:
        return io.BytesIO(media.data)
    if media.extent is not None:
        return io.BytesIO(read_extent(media.extent))
    if media.path is None:
        raise SampleError("is an address, and models don't fetch from the network")
    return open_checked(media.path, media.within)


def read_media_file(media: Media, most: int = MOST_BYTES) -> bytes:
    """All bytes of a media item's file, at most so many. Raises `SampleError` as `open_media` does."""
    with open_media(media) as stream:
        try:
            content = stream.read(most + 1)
        except OSError as error:
            raise SampleError(f"can't be read: {error.strerror or error}") from error
    if len(content) > most:
        raise SampleError(f"has more than {most >> 20} MiB")
    return content


def open_checked(path: str, within: Sequence[str] | None) -> BinaryIO:
    """Open a file that `checked_path` allows. Never waits: what isn't a regular file isn't opened."""
    file = checked_path(path, within)
    try:
        # Should somebody put a pipe or a link in its place just now, neither is waited for nor followed.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SampleError("is no regular file")
    return os.fdopen(descriptor, "rb")


def checked_path(path: str, within: Sequence[str] | None, *, folder: bool = False) -> Path:
    """Where a path leads: to a regular file with something in it (or, with `folder`, a folder), in one of `within`.

    None: anywhere, for media that Python code names. `MUSTER_MEDIA_FOLDERS` adds folders on this machine.

    Raises:
        SampleError: it leads elsewhere, or to something else; in words that fit behind the file's name.
    """
    try:
        file = os.path.realpath(path, strict=True)
        status = os.stat(file)  # noqa: PTH116 - the path is a text everywhere here
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error
    if within is not None and not lies_in(file, [*map(_real, within), *map(_real, own_folders())]):
        raise SampleError(f"leads to {file}, which is outside of {' and '.join(within)}; {ADVICE}")
    if folder and stat.S_ISDIR(status.st_mode):
        return Path(file)
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise SampleError(f"is no regular file but {kind}")
    if status.st_size == 0:  # of /proc too, where files without a size never end
        raise SampleError("can't be decoded: it is an empty file")
    return Path(file)


def confined(request: Request, within: tuple[str, ...]) -> Request:
    """A stranger's request: its media may lie in these folders and in `MUSTER_MEDIA_FOLDERS`, whatever it says."""
    if all(media.path is None and media.extent is None for media in request.media):
        return request

    def held(part: Part) -> Part:
        media = part.media
        if media is None or (media.path is None and media.extent is None):
            return part
        if media.extent is not None:
            try:
                checked_path(media.extent.path, within)
            except SampleError:  # opened as a file, it says why it isn't
                media = replace(media, extent=None, path=media.extent.path)
        return Part(media=replace(media, within=within))

    messages = (Message(each.role, tuple(map(held, each.parts))) for each in request.messages)
    return replace(request, messages=tuple(messages))


ADVICE = f"if it is meant to be read, name a folder that it is in: {VARIABLE}=FOLDER"


def lies_in(path: str, folders: Iterable[str]) -> bool:
    """Whether an absolute path is below one of the folders; of the texts alone."""
    return any(path == folder or path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def may_name(path: str, within: Sequence[str]) -> bool:
    """Whether data that lies `within` may name an absolute path, as far as that can be told without opening it."""
    folders = [*within, *own_folders()]
    return lies_in(path, folders) or lies_in(os.path.realpath(path), map(_real, folders))


def own_folders(env: Mapping[str, str] = os.environ) -> list[str]:
    """The folders of `MUSTER_MEDIA_FOLDERS`, absolute."""
    given = env.get(VARIABLE, "").split(os.pathsep)
    return [os.path.abspath(os.path.expanduser(folder)) for folder in given if folder.strip()]  # noqa: PTH100, PTH111


@lru_cache(maxsize=256)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _unreadable(error: OSError | ValueError) -> SampleError:
    if isinstance(error, FileNotFoundError):
        return SampleError("does not exist")
    return SampleError(f"can't be read: {getattr(error, 'strerror', None) or error}")
