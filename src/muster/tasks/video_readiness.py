"""Whether a run's videos can be read here: asked before a model loads, not once per sample after it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from muster.core import ConfigurationError, MissingExtraError
from muster.media import frame_cache
from muster.media.readers.choice import reader_name
from muster.tasks.plan import PlannedTask
from muster.tasks.samples import VIDEOS

LOOKED_AT = 200
"""Videos of a task, of which one has to be there."""
SENT_AS_FILES = ("video_url", "file")
"""What `video` says in the model arguments of backends that needn't decode."""


def check_videos(planned: Sequence[PlannedTask], model_args: dict[str, object]) -> None:
    """Look for the videos of tasks that have some, and for what reads them.

    Raises:
        ConfigurationError: none of a task's videos is there, nor the folder of its subtitles, or a variable about
            reading videos makes no sense.
        MissingExtraError: they have to be decoded, and PyAV isn't installed.
    """
    with_videos = [task for task in planned if task.shown is not None]
    if not with_videos:
        return
    reader_name()
    frame_cache.limit_bytes()
    if importlib.util.find_spec("av") is None and model_args.get("video") not in SENT_AS_FILES:
        raise MissingExtraError(f"task {with_videos[0].task.name}, which has videos,", "video")
    for task in with_videos:
        files = (media.path for sample in task.compact.having(VIDEOS) for media in sample.videos)
        paths = list(islice((path for path in files if path is not None), LOOKED_AT))
        if paths and not any(Path(path).exists() for path in paths):
            raise ConfigurationError(
                f"task {task.task.name}: none of its videos is there, the first is to be {paths[0]}: fetch the "
                "benchmark's archives and unpack them there, or say with --data where they are (docs/video.md)"
            )
        _check_subtitles(task)


def _check_subtitles(task: PlannedTask) -> None:
    """A missing file means that nobody speaks in its video; a missing folder, that they weren't unpacked."""
    if task.shown is None or task.shown.subtitles == "none":
        return
    said = (media.subtitles for sample in task.compact.having(VIDEOS) for media in sample.videos)
    files = list(islice((file for file in said if file is not None), LOOKED_AT))
    if files and not any(Path(file).parent.exists() for file in files):
        raise ConfigurationError(
            f"task {task.task.name}: the folder of its subtitles isn't there, the first is to be {files[0]}: unpack "
            "them there, or run without them: --video subtitles=none (docs/video.md)"
        )
