"""Dynamic tiling: an image as a grid of square tiles, chosen by its aspect ratio.

After InternVL 1.5 (arXiv:2404.16821, section 3.2) and its published code (OpenGVLab/InternVL, `dynamic_preprocess` in
internvl_chat/internvl/train/dataset.py, and the models' quick start).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, by which every published model was trained."""


class Grid(NamedTuple):
    """How many tiles side by side, and how many rows of them."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """How images become tiles. The defaults are the quick start's."""

    size: int = 448
    """Pixels of a tile's side."""
    min_num: int = 1
    max_num: int = 12
    """Bounds of the number of tiles, the thumbnail not counted."""
    thumbnail: bool = True
    """Whether the whole image follows as one more tile, where there are several."""

    def grid(self, width: int, height: int) -> Grid:
        """The grid whose aspect ratio is closest to the image's.

        Of several that are equally close the largest whose area in pixels is less than twice the image's, else the
        smallest.
        """
        best, best_difference = Grid(1, 1), math.inf
        for grid in grids(self.min_num, self.max_num):
            difference = abs(width / height - grid.columns / grid.rows)
            pixels = self.size * self.size * grid.columns * grid.rows
            if difference < best_difference or (
                difference == best_difference and width * height > 0.5 * pixels
            ):
                best, best_difference = grid, difference
        return best

    def tiles(self, image: Image) -> list[Image]:
        """RGB tiles, row by row, then the thumbnail. The image is stretched to the grid; nothing is cut off."""
        from PIL.Image import Resampling

        size, (columns, rows) = self.size, self.grid(*image.size)
        stretched = image.resize((columns * size, rows * size), Resampling.BICUBIC)
        tiles = [
            stretched.crop((column * size, row * size, (column + 1) * size, (row + 1) * size))
            for row in range(rows)
            for column in range(columns)
        ]
        if self.thumbnail and len(tiles) > 1:
            tiles.append(image.resize((size, size), Resampling.BICUBIC))
        return tiles

    def single(self, image: Image) -> Image:
        """The whole image as one tile: how frames of a video are shown."""
        from PIL.Image import Resampling

        return image.resize((self.size, self.size), Resampling.BICUBIC)


@lru_cache
def grids(min_num: int, max_num: int) -> tuple[Grid, ...]:
    """Every grid of `min_num` to `max_num` tiles, the smallest first."""
    found = [
        Grid(columns, rows)
        for columns in range(1, max_num + 1)
        for rows in range(1, max_num // columns + 1)
        if columns * rows >= min_num
    ]
    return tuple(sorted(found, key=lambda grid: grid.columns * grid.rows))


def pixel_values(tiles: Sequence[Image]) -> torch.Tensor:
    """RGB tiles of one size as normalized float32 (tiles, 3, size, size)."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.stack([np.asarray(tile) for tile in tiles]))
    scaled = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
    return scaled.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(STD).view(3, 1, 1))
