"""Images and videos for workers that don't see the coordinator's disk: they travel inside the requests.

Whether a worker sees the files is found out by trying: the coordinator names some of them, and a worker that reads
the same bytes there opens all of them by itself. That is right for shared disks, copies, containers and chroots
alike. Only files that the plan, or a task's code, names are ever read for somebody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from muster.core import Completion, Failure, Media, Part, Request, SampleError
from muster.core.encoded import Encoded
from muster.media.extents import read_extent
from muster.media.gate import media_file, read_media_file
from muster.media.images import describe
from muster.media.packed_frames import pack
from muster.media.video import load_video
from muster.tasks.plan import PlannedTask
from muster.tasks.samples import IMAGES, VIDEOS
from muster.wire.probes import Probe, digest_of

PROBES_PER_TASK = 16
_READERS = 4
MOST_BYTES = 512 << 20
"""Of one request's media: a message must stay well below the longest frame."""


def probes(planned: Sequence[PlannedTask]) -> list[Probe]:
    """Some files of each task, evenly spread; those that the coordinator can't read itself are left out."""
    found: list[Probe] = []
    for task in planned:
        within = {
            path: media.within
            for sample in task.compact.having(IMAGES | VIDEOS)
            for media in (*sample.images, *sample.videos)
            if (path := _file(media)) is not None
        }
        paths = list(within)
        step = max(1, len(paths) // PROBES_PER_TASK)
        chosen = dict.fromkeys([*paths[::step][: PROBES_PER_TASK - 1], *paths[-1:]])
        found += [Probe(path, digest) for path in chosen if (digest := digest_of(path, within[path]))]
    return found


def with_media(request: Request) -> Request:
    """The request with the bytes of its files in it; of a video, with the frames that are shown of it. Blocks.

    What is shown of a film of gigabytes are a few megabytes, without loss: the worker sees the same pixels.

    Raises:
        SampleError: a file can't be read, or all of them are too much to send.
    """
    size = 0
    messages = []
    for message in request.messages:
        parts = []
        for part in message.parts:
            if part.media is not None and _file(part.media) is not None:
                read = _frames if part.media.kind == "video" else _read
                part = Part(media=read(part.media, MOST_BYTES - size))  # noqa: PLW2901
            size += part.media.size_hint if part.media is not None else 0
            parts.append(part)
        messages.append(replace(message, parts=tuple(parts)))
    return replace(request, messages=tuple(messages))


class Filled(NamedTuple):
    """Claimed requests by index, with their files' bytes; in the last one also all whose files can't be read."""

    requests: list[tuple[int, Request]]
    failed: list[tuple[int, Encoded]]
    last: bool


class MediaReaders:
    """Threads that read media for workers; the journal's syncs have their own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_READERS, "muster-media")

    async def parts(self, requests: Iterable[tuple[int, Request]], most: int) -> AsyncIterator[Filled]:
        """The requests with their files, in parts of about `most` bytes each; at least one part."""
        ready: list[tuple[int, Request]] = []
        failed: list[tuple[int, Encoded]] = []
        size = 0
        for index, request in requests:
            filled = await filled_in(request, self._threads)
            if isinstance(filled, Encoded):
                failed.append((index, filled))
                continue
            if ready and size + media_bytes(filled) > most:
                yield Filled(ready, [], last=False)
                ready, size = [], 0
            ready.append((index, filled))
            size += media_bytes(filled)
        yield Filled(ready, failed, last=True)

    def close(self) -> None:
        """Read no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def needs_files(request: Request) -> bool:
    """Whether the request names files."""
    return any(_file(media) is not None for media in request.media)


def media_bytes(request: Request) -> int:
    """Bytes of media that travel with the request."""
    return sum(len(media.data) for media in request.media if media.data is not None)


def _file(media: Media) -> str | None:
    return media.extent.path if media.extent is not None else media.path


def _read(media: Media, room: int) -> Media:
    if media.extent is not None and media.extent.size <= room:
        return replace(media, extent=None, data=read_extent(media.extent))
    path = _file(media) or ""
    try:
        size = media.size_hint or media_file(media).stat().st_size
        content = read_media_file(media) if size <= room else b""
    except (OSError, SampleError) as error:
        raise SampleError(f"on the coordinator's node, {media.kind} {path} {error}") from error
    if size > room:
        raise SampleError(
            f"{media.kind} {path} is too large to send with its request ({size >> 20} MiB): put the benchmark's "
            "files under the same path on every node"
        )
    return replace(media, path=None, data=content)


def _frames(media: Media, room: int) -> Media:
    content = pack(load_video(media))
    if len(content) > room:
        raise SampleError(
            f"{describe(media)}: its frames are too large to send with their request ({len(content) >> 20} MiB): show "
            "fewer or smaller ones (--video), or put the benchmark's files under the same path on every node"
        )
    return Media("video", data=content, shown=media.shown)


async def filled_in(request: Request, readers: Executor) -> Request | Encoded:
    """The request with its files' bytes, read in one of the threads, or its failure where one can't be read."""
    try:
        return await asyncio.get_running_loop().run_in_executor(readers, with_media, request)
    except SampleError as error:
        return Encoded.of(Completion(request.key, failure=Failure.from_exception(error)))
