"""Which back end reads a video."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from functools import cache

from muster.core import ConfigurationError, Media
from muster.media.gate import media_file, open_media
from muster.media.readers.folder import FolderReader
from muster.media.readers.protocol import OpenReader, VideoReader
from muster.media.readers.pyav import PyAvReader

log = logging.getLogger(__name__)

VARIABLE = "MUSTER_VIDEO_READER"
READERS = ("auto", "pyav", "torchcodec")


def open_video(media: Media) -> VideoReader:
    """Open a video or a folder of frames.

    Raises:
        SampleError: it can't be read; in words that fit behind its name.
        MissingExtraError: there is no back end.
    """
    if media.path is None:
        return _reader()(open_media(media))
    path = media_file(media)
    if path.is_dir():
        return FolderReader(path, media.frame_rate, media.within)
    return _reader()(path)


def reader_name(env: Mapping[str, str] = os.environ) -> str:
    """The back end that `MUSTER_VIDEO_READER` asks for; by itself torchcodec, where a process has torch anyway."""
    asked = env.get(VARIABLE, "auto")
    if asked not in READERS:
        raise ConfigurationError(f"{VARIABLE}={asked}: expected {', '.join(READERS)}")
    return (
        asked if asked != "auto" else "torchcodec" if "torch" in sys.modules and has_torchcodec() else "pyav"
    )


def _reader() -> OpenReader:
    if reader_name() == "pyav":
        return PyAvReader
    from muster.media.readers.torchcodec import TorchcodecReader

    return TorchcodecReader


@cache
def has_torchcodec() -> bool:
    """Whether it is there and works: its wheels load only beside the FFmpeg libraries that they were made for."""
    if importlib.util.find_spec("torchcodec") is None:
        return False
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        log.warning("torchcodec doesn't load, so videos are read through PyAV (%s)", reason)
        return False
    return True
