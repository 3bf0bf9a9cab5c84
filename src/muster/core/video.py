"""How a video is shown: which part of it, which of its frames, how large, and with which subtitles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SamplingName = Literal["uniform", "fps", "steps", "qwen", "internvl", "vlmevalkit"]
"""Whose arithmetic chooses the frames (`muster.media.frame_choice`)."""
SubtitleUse = Literal["none", "all", "frames", "interleaved"]
"""Which subtitles a prompt has: none, all, those spoken while a chosen frame is seen, or these between the frames."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of a video, in seconds; None: from its beginning, to its end."""

    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class VideoSettings:
    """What a model gets of each video of a task. None: as the convention has it."""

    sampling: SamplingName = "uniform"
    frames: int | None = None
    """How many; without it and without `fps`, 32 (for `qwen`, 2 a second)."""
    fps: float | None = None
    """Frames for each second of the video, in place of `frames`."""
    min_frames: int | None = None
    max_frames: int | None = None
    """Bounds of what `fps` gives."""
    min_pixels: int | None = None
    """Of a frame; smaller ones are scaled up. For `qwen` alone."""
    max_pixels: int | None = None
    """Of a frame; larger ones are scaled down."""
    total_pixels: int | None = None
    """Of all frames together."""
    multiple: int = 28
    """`qwen`: both sides of a frame are multiples of it (Qwen2-VL and Qwen2.5-VL 28, Qwen3-VL 32)."""
    subtitles: SubtitleUse = "none"
    before_subtitles: str = ""
    """What a prompt says before its subtitles, unless they are interleaved."""
    without_subtitles: str = ""
    """What it says in place of them for a video that has none."""
