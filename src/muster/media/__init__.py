"""From references to pixels. Pillow is imported when the first image is decoded."""

from muster.media.images import describe, load_image

__all__ = ["describe", "load_image"]
