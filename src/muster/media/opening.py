"""Opening a prompt's media: pictures, videos, and frames in place of videos for models that have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from muster.core import Media, Message, Part, VideoSettings
from muster.media.decoded_video import Video
from muster.media.images import describe, load_image
from muster.media.subtitles import interleaved, spoken_at
from muster.media.video import load_video

if TYPE_CHECKING:
    from PIL.Image import Image

    Visual: TypeAlias = "Image | Video"

FrameLabel = Literal["none", "internvl"]
"""What stands around each frame of a video that is shown as images; `internvl`: `Frame1: ` before, a line end after."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenedPrompt:
    """A prompt whose media were decoded."""

    messages: tuple[Message, ...]
    """Subtitles are texts in it, and where videos are shown as images, each frame is a media part of its own."""
    visuals: tuple[Visual, ...]
    """One for each media part, in order."""
    note: str | None = None
    """Which videos are shown as images."""


def open_prompt(
    messages: Sequence[Message], *, takes_videos: bool, label: FrameLabel = "none"
) -> OpenedPrompt:
    """Decode all media of a prompt. Raises `SampleError` for the first that can't be used.

    A video whose subtitles are interleaved becomes images for every model.
    """
    visuals: list[Visual] = []
    notes: list[str] = []
    opened: list[Message] = []
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            if part.media is None:
                parts.append(part)
            elif part.media.kind == "image":
                parts.append(part)
                visuals.append(load_image(part.media))
            else:
                parts += _video(part.media, visuals, notes, label, whole=takes_videos)
        opened.append(replace(message, parts=tuple(parts)))
    return OpenedPrompt(tuple(opened), tuple(visuals), "; ".join(notes) or None)


def _video(
    media: Media, visuals: list[Visual], notes: list[str], label: FrameLabel, *, whole: bool
) -> Iterator[Part]:
    video = load_video(media)
    settings = media.shown or VideoSettings()
    if whole and settings.subtitles != "interleaved":
        visuals.append(video)
        yield Part(media=media)
    else:
        frames = video.images()
        notes.append(f"{describe(media)}: {len(frames)} frames as images")
        for piece in frame_sequence(video, settings, label):
            if isinstance(piece, str):
                yield Part(text=piece)
            else:
                visuals.append(frames[piece])
                yield Part(media=Media("image", path=f"{describe(media)}, frame {video.indices[piece]}"))
    if said := said_in(video, settings):
        yield Part(text=said)


def frame_sequence(video: Video, settings: VideoSettings, label: FrameLabel) -> Iterator[int | str]:
    """A video as frames, by their place among those chosen, and the texts around them."""
    if settings.subtitles == "interleaved":
        for piece in interleaved(video.subtitles, video.seconds, video.duration):
            yield piece
            yield "\n"
        return
    for place in range(len(video.indices)):
        if label == "internvl":
            yield f"Frame{place + 1}: "
            yield place
            yield "\n"
        else:
            yield place


def said_in(video: Video, settings: VideoSettings) -> str:
    """The subtitles as a prompt has them behind the video; empty where it has none there."""
    if settings.subtitles not in ("all", "frames"):
        return ""
    cues = video.subtitles
    if not cues:
        said = settings.without_subtitles
    else:
        shown = cues if settings.subtitles == "all" else spoken_at(cues, video.indices, video.fps)
        said = "\n".join(cue.text for cue in shown)
    text = settings.before_subtitles + said
    return f"{text}\n" if text else ""
