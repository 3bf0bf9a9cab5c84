"""Images and videos as references: where the bytes are, not what they decode to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from muster.core.image import ImageSettings
from muster.core.video import Clip, VideoSettings

MediaKind = Literal["image", "video"]


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of a larger file: how one image lies among the thousands of a benchmark."""

    path: str
    """Absolute path of the file."""
    offset: int
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Media:
    """One image or video. Exactly one of `path`, `data`, `url` and `extent` is set.

    Backends meet the first three only: what a worker pulls has the bytes of its extents in it.
    """

    kind: MediaKind
    path: str | None = None
    """Absolute path of a file; of a video, also of a folder that holds its frames as images."""
    data: bytes | None = None
    """The encoded file itself (PNG, JPEG, MP4 …)."""
    url: str | None = None
    """An http(s) address; only where the user allowed the network."""
    extent: Extent | None = None
    """The encoded file within a larger one."""
    within: tuple[str, ...] | None = field(default=None, compare=False)
    """Folders of which one must hold the file, links followed (`muster.media.gate`); None: wherever it is, for media
    that Python code names."""
    image: ImageSettings | None = None
    """How an image is opened, as the run has it; None: by the defaults."""
    clip: Clip | None = None
    """The part of a video that is asked about; None: all of it."""
    frame_rate: float | None = None
    """Frames per second of a folder of frames."""
    subtitles: str | None = None
    """Absolute path of a video's SRT or JSON file."""
    subtitles_from: float = 0.0
    """The second on the subtitles' clock at which the video begins."""
    shown: VideoSettings | None = None
    """How a video is shown, as the run has it; backends find it here."""

    @property
    def identity(self) -> str:
        """The same for two references to the same media: samples that share it are correlated."""
        if self.data is not None:
            return hashlib.blake2b(self.data, digest_size=16).hexdigest()
        if self.extent is not None:
            return f"{self.extent.path}@{self.extent.offset}"
        return self.path or self.url or ""

    @property
    def pixels_identity(self) -> str:
        """The same for two references that give a model the same pixels."""
        return self.identity if self.image is None else f"{self.identity} {self.image}"

    @property
    def size_hint(self) -> int:
        """Encoded bytes where they are at hand, else 0; good enough to predict cost."""
        if self.extent is not None:
            return self.extent.size
        return len(self.data) if self.data is not None else 0
