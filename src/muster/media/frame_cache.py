"""Frames that were decoded before, on this node's disk: several questions about a video, and every later run.

`MUSTER_FRAME_CACHE` says how many GB they may take (default 10; 0: nothing is kept). Those that were not used for
longest go first.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from muster.core import ConfigurationError, Media, SampleError
from muster.core.cache_folder import cache_folder
from muster.media.decoded_video import Video
from muster.media.gate import open_checked
from muster.media.packed_frames import is_packed, pack, unpack

log = logging.getLogger(__name__)

VARIABLE = "MUSTER_FRAME_CACHE"
DEFAULT_GB = 10.0
ENDING = ".frames"
READING = 2
"""Raised when other frames, or other pixels of them, are read of the same file."""
SAMPLED = 1 << 16
"""Bytes that are read at the beginning, the middle and the end of a video to know it again."""
LOCK_ENDING = ".lock"
LONGEST_WAIT = 300.0
"""Seconds for another process that decodes the same video."""
BETWEEN_LOOKS = 0.05
ROOM = 0.9
"""How full the cache is left when it had become too full."""


def limit_bytes(env: Mapping[str, str] = os.environ) -> int:
    """How much may be kept. Raises `ConfigurationError` where `MUSTER_FRAME_CACHE` is no number."""
    text = env.get(VARIABLE, "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < float("inf"):
        raise ConfigurationError(f"{VARIABLE}={text}: expected a number of GB, 0 to keep nothing")
    return int(gigabytes * 1e9)


def find(media: Media) -> Video | None:
    """The video's frames, where they were kept."""
    file = _file(media)
    if file is None:
        return None
    try:
        content = file.read_bytes()
        video = unpack(content) if is_packed(content) else None
        os.utime(file)
    except (OSError, SampleError):
        return None
    return video


@contextlib.contextmanager
def reading(media: Media) -> Iterator[None]:
    """While this process decodes a video: others of this machine that want the same frames wait, and find them kept.

    They wait for one of them only: whoever finds nothing kept after that (more frames than may be kept, a process that
    died) decodes at once. Nobody waits longer than `LONGEST_WAIT`, nor where nothing is kept or there are no locks.
    """
    file = _file(media)
    lock = None if file is None else _locked(file.with_suffix(LOCK_ENDING))
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):
                Path(lock.name).unlink()
            lock.close()


def _locked(file: Path) -> IO[bytes] | None:
    """The file, locked; None where that can't be had, or another process had it until now."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("ab")
    except OSError:
        return None
    begun = time.monotonic()
    waited = False
    with contextlib.suppress(OSError):
        while time.monotonic() < begun + LONGEST_WAIT:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                time.sleep(BETWEEN_LOOKS)
                continue
            if waited:
                break
            return lock
    lock.close()
    return None


def keep(media: Media, video: Video) -> None:
    """Keep the video's frames. A cache that can't be written costs time, and nothing else."""
    file = _file(media)
    if file is None:
        return
    content = pack(video)
    most = limit_bytes()
    if len(content) > most:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_room(file.parent, most - len(content), most)
        descriptor, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        log.debug("decoded frames are not kept in %s: %s", file.parent, error)


def _make_room(folder: Path, free_below: int, most: int) -> None:
    entries: list[tuple[float, int, str]] = []
    with os.scandir(folder) as listing:
        for entry in listing:
            with contextlib.suppress(OSError):
                status = entry.stat()
                if entry.name.endswith(LOCK_ENDING) and status.st_mtime > time.time() - LONGEST_WAIT:
                    continue
                entries.append((status.st_mtime, status.st_size, entry.path))
    size = sum(entry[1] for entry in entries)
    if size <= free_below:
        return
    for _used, taken, path in sorted(entries):
        with contextlib.suppress(OSError):
            Path(path).unlink()
        size -= taken
        if size <= min(free_below, ROOM * most):
            return


def _file(media: Media) -> Path | None:
    """Where its frames are kept: named by what is in the file, the part and the settings. None: they are not kept."""
    if media.path is None or limit_bytes() == 0:
        return None
    content = _content_key(media.path, media.within)
    if content is None:
        return None
    subtitles = (media.subtitles, media.subtitles_from)
    said = _content_key(media.subtitles, media.within) if media.subtitles is not None else None
    rest = msgspec.json.encode((READING, media.clip, media.frame_rate, media.shown, subtitles))
    key = hashlib.blake2b(content + (said or b"") + rest, digest_size=20).hexdigest()
    return cache_folder() / "frames" / f"{key}{ENDING}"


def _content_key(path: str, within: tuple[str, ...] | None) -> bytes | None:
    """Of the file's size, time and three samples of its bytes; None for a folder or what can't be read."""
    try:
        with open_checked(path, within) as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.blake2b(b"%d %d " % (status.st_size, status.st_mtime_ns), digest_size=20)
            for start in (0, status.st_size // 2, max(0, status.st_size - SAMPLED)):
                stream.seek(start)
                digest.update(stream.read(SAMPLED))
    except (OSError, SampleError):
        return None
    return digest.digest()
