"""How many images of a task aren't shown to models quite as their file has them."""

from __future__ import annotations

from dataclasses import dataclass

from muster.core import ImageSettings
from muster.media.images import HUGE, Picture


@dataclass(slots=True)
class PictureCounts:
    """Counts what `muster tasks check` tells of images."""

    transparent: int = 0
    deep: int = 0
    animated: int = 0
    turned: int = 0
    huge: int = 0
    scaled: int = 0

    def add(self, picture: Picture) -> None:
        """Count an image."""
        self.transparent += picture.transparent
        self.deep += picture.deep
        self.animated += picture.animated
        self.turned += picture.turned
        self.huge += picture.size.pixels > HUGE
        self.scaled += picture.image.size != picture.size

    def sentences(self, settings: ImageSettings) -> list[str]:
        """What there is to say, a line each."""
        beneath = "dropped, the colours beneath it are shown"
        on_white = "laid on white (image: {transparency: drop} shows the colours beneath it)"
        told = [
            (
                self.transparent,
                f"have transparency: {beneath if settings.transparency == 'drop' else on_white}",
            ),
            (self.deep, "have more than 8 bits a channel: scaled to 8, as viewers do"),
            (self.animated, "are animated or have several pages: the first is shown"),
            (self.turned, "are turned or mirrored, as their EXIF data says"),
            (self.huge, f"have more than {HUGE:,} pixels (image: {{max_pixels: N}} scales them down)"),
            (self.scaled, f"are scaled down to {settings.max_pixels or 0:,} pixels"),
        ]
        return [f"{count} of these images {what}" for count, what in told if count]
