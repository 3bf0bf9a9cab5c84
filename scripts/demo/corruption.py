"""What makes a scan hard to read: noise, shift, occlusion. Applied to the 8×8 scan, before it is enlarged."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np

from scripts.demo.scans import MAX_LEVEL, Scan

NOISE_LEVELS = 5.0
"""Standard deviation of the noise, in ink levels."""
OCCLUSION_SIDE = 3


def noise(scan: Scan, rng: random.Random) -> Scan:
    """Gaussian noise on every pixel, clipped to the scale."""
    drawn = np.array([rng.gauss(0.0, NOISE_LEVELS) for _ in range(scan.size)]).reshape(scan.shape)
    noisy: Scan = np.clip(np.rint(scan + drawn), 0, MAX_LEVEL).astype(np.uint8)
    return noisy


def shift(scan: Scan, rng: random.Random) -> Scan:
    """Moved by one pixel of the eight, straight or diagonally; paper moves in, ink that leaves is lost."""
    padded = np.pad(scan, 1)
    row, column = rng.choice(
        [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    )
    rows, columns = scan.shape
    moved: Scan = padded[row : row + rows, column : column + columns]
    return moved


def occlusion(scan: Scan, rng: random.Random) -> Scan:
    """A square of mid-grey somewhere on the scan."""
    hidden = scan.copy()
    row, column = (rng.randint(0, side - OCCLUSION_SIDE) for side in scan.shape)
    hidden[row : row + OCCLUSION_SIDE, column : column + OCCLUSION_SIDE] = MAX_LEVEL // 2
    return hidden


CORRUPTIONS: Mapping[str, Callable[[Scan, random.Random], Scan]] = {
    "noise": noise,
    "shift": shift,
    "occlusion": occlusion,
}
"""By category."""
