"""The data under the demo: scikit-learn's handwritten digit scans, split once and for all.

1,797 real scans of 8×8 pixels with ink levels 0 to 16 (Alpaydin and Kaynak, Optical Recognition of
Handwritten Digits, UCI, 1998; CC BY 4.0). The model learns from the training scans only; the 500 others
are the benchmark.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

HELD_OUT = 500
IMAGE_SIZE = 32
MAX_LEVEL = 16

Scan: TypeAlias = npt.NDArray[np.uint8]
"""One scan: 8×8 ink levels, 0 (paper) to 16 (ink)."""


@dataclass(frozen=True, slots=True)
class Scans:
    """All scans with what they show; an index names a scan everywhere (ids, metadata)."""

    levels: npt.NDArray[np.uint8]
    """(scan, row, column), 0 to 16."""
    digits: tuple[int, ...]
    train: tuple[int, ...]
    held_out: tuple[int, ...]


def load_scans() -> Scans:
    """The scans in scikit-learn's order and the one split, stratified by digit, both index lists sorted.

    A held-out scan whose pixels also occur among the training scans would be dropped; in this data none does.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    levels = data.images.astype(np.uint8)
    train, held_out = train_test_split(
        np.arange(len(levels)), test_size=HELD_OUT, random_state=0, stratify=data.target
    )
    learned = {levels[index].tobytes() for index in train}
    return Scans(
        levels=levels,
        digits=tuple(int(digit) for digit in data.target),
        train=tuple(sorted(int(index) for index in train)),
        held_out=tuple(sorted(int(i) for i in held_out if levels[i].tobytes() not in learned)),
    )


def enlarge(scan: Scan) -> Image.Image:
    """The scan as a grey 32×32 image (bilinear), bright ink on black: readable for people too."""
    pixels = (scan.astype(np.uint16) * 255 // MAX_LEVEL).astype(np.uint8)
    return Image.fromarray(pixels).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)


def encode_png(image: Image.Image) -> bytes:
    """The image as PNG. The pixels are the same everywhere; the bytes depend on the zlib that Pillow has."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
