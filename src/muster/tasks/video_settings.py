"""What is shown of a task's videos, as the task and the run say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import NamedTuple, get_args

import msgspec

from muster.core import JSON, ConfigurationError, SamplingName, SubtitleUse, VideoSettings
from muster.core.text import did_you_mean

NAMES = tuple(each.name for each in fields(VideoSettings))
_COUNTS = ("frames", "fps", "min_frames", "max_frames")
MOST_FRAMES = 100_000
MOST_FPS = 1000.0
"""Beyond them it is a slip, and the choice of frames alone would take for ever."""
_TEXTS = ("before_subtitles", "without_subtitles")
_BUDGETS = ("min_pixels", "max_pixels", "total_pixels")


class Contradiction(NamedTuple):
    """Settings that can't be meant together."""

    name: str
    message: str


def overridden(task: VideoSettings, given: Mapping[str, JSON]) -> VideoSettings:
    """The task's settings with what `--video` says.

    A number of frames of one's own takes the place of all that the task says about it, and so does another sampling.
    Raises `ConfigurationError` for what makes no sense.
    """
    if not given:
        return task
    for name in given:
        if name not in NAMES:
            raise ConfigurationError(
                f"--video {name}: no such setting{did_you_mean(name, NAMES)} (there are: {', '.join(NAMES)})"
            )
    for name, allowed in (("sampling", get_args(SamplingName)), ("subtitles", get_args(SubtitleUse))):
        if name in given and given[name] not in allowed:
            raise ConfigurationError(f"--video {name}={given[name]}: expected one of {', '.join(allowed)}")
    kept = asdict(task)
    defaults = asdict(VideoSettings())
    if given.get("sampling", task.sampling) != task.sampling:
        kept.update({name: defaults[name] for name in (*_COUNTS, *_BUDGETS)})
    elif given.keys() & {"frames", "fps"}:
        kept.update({name: defaults[name] for name in _COUNTS})
    for name, value in given.items():
        try:
            msgspec.convert({name: value}, VideoSettings)
        except msgspec.ValidationError:
            expected = "text" if name in _TEXTS else "a number" if name == "fps" else "a whole number"
            raise ConfigurationError(f"--video {name}={value}: expected {expected}") from None
    settings = msgspec.convert({**kept, **given}, VideoSettings)
    problems = [*_sizes(settings), *contradictions(settings)]
    if problems:
        raise ConfigurationError("\n".join(f"--video {name}: {message}" for name, message in problems))
    return settings


def contradictions(settings: VideoSettings) -> list[Contradiction]:
    """What can't be meant."""
    found: list[Contradiction] = []
    if settings.frames is not None and settings.fps is not None and settings.sampling != "fps":
        found.append(Contradiction("fps", "give frames or fps; beside fps, max_frames bounds the number"))
    if settings.min_frames and settings.max_frames and settings.min_frames > settings.max_frames:
        found.append(Contradiction("min_frames", "is more than max_frames"))
    found += [
        Contradiction(name, f"more than {MOST_FRAMES:,} frames can't be shown")
        for name in ("frames", "min_frames", "max_frames")
        if (getattr(settings, name) or 0) > MOST_FRAMES
    ]
    if settings.fps is not None and not settings.fps <= MOST_FPS:  # NaN is refused too
        found.append(Contradiction("fps", f"{settings.fps:g} frames a second are more than {MOST_FPS:g}"))
    if settings.frames is not None and settings.sampling == "qwen" and settings.frames < 2:
        found.append(Contradiction("frames", "qwen takes frames in pairs: at least 2"))
    if settings.min_pixels is not None and settings.sampling != "qwen":
        found.append(Contradiction("min_pixels", "is for sampling qwen; other conventions scale nothing up"))
    if settings.min_pixels and settings.max_pixels and settings.min_pixels > settings.max_pixels:
        found.append(Contradiction("min_pixels", "is more than max_pixels"))
    return found


def _sizes(settings: VideoSettings) -> list[Contradiction]:
    values = ((name, getattr(settings, name)) for name in (*_COUNTS, *_BUDGETS, "multiple"))
    return [
        Contradiction(name, f"{value} is not more than 0")
        for name, value in values
        if value is not None and value <= 0
    ]
