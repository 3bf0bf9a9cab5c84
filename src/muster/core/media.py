"""Images and videos as references: where the bytes are, not what they decode to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "video"]


@dataclass(frozen=True, slots=True)
class Media:
    """One image or video. Exactly one of `path`, `data` and `url` is set."""

    kind: MediaKind
    path: str | None = None
    """Absolute path of a file."""
    data: bytes | None = None
    """The encoded file itself (PNG, JPEG, MP4 …)."""
    url: str | None = None
    """An http(s) address; only where the user allowed the network."""

    @property
    def identity(self) -> str:
        """The same for two references to the same media: samples that share it are correlated."""
        if self.data is not None:
            return hashlib.blake2b(self.data, digest_size=16).hexdigest()
        return self.path or self.url or ""

    @property
    def size_hint(self) -> int:
        """Encoded bytes where they are at hand, else 0; good enough to predict cost."""
        return len(self.data) if self.data is not None else 0
