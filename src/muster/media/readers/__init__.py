"""From a video's file to frames of given indices."""

from muster.media.readers.choice import open_video
from muster.media.readers.protocol import Frame, FramesRecountedError, VideoReader

__all__ = ["Frame", "FramesRecountedError", "VideoReader", "open_video"]
