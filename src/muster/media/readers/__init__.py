"""From a video's file to frames of given indices."""

from muster.media.readers.choice import open_video
from muster.media.readers.protocol import Frame, VideoReader

__all__ = ["Frame", "VideoReader", "open_video"]
