"""The grids into which families cut images: pure geometry, in pixels, after the processors of transformers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple


class ImageSize(NamedTuple):
    """Pixels."""

    width: int
    height: int


def best_resolution(image: ImageSize, grids: list[list[int]]) -> tuple[int, int]:
    """Height and width of the grid that keeps most of the image's pixels and, among those, wastes least."""

    def key(grid: list[int]) -> tuple[int, int]:
        height, width = grid
        scale = min(width / image.width, height / image.height)
        kept = min(int(image.width * scale) * int(image.height * scale), image.width * image.height)
        return kept, kept - height * width

    height, width = max(grids, key=key)
    return height, width


def without_padding(image: ImageSize, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of patches that show the image, of a grid that was padded to its shape."""
    if image.width / image.height > columns / rows:
        shown = int(round(image.height * (columns / image.width), 7))
        return rows - (rows - shown) // 2 * 2, columns
    shown = int(round(image.width * (rows / image.height), 7))
    return rows, columns - (columns - shown) // 2 * 2


def smart_size(image: ImageSize, factor: int, least: int, most: int) -> tuple[int, int]:
    """Height and width in multiples of `factor` with a number of pixels between two limits, about the same shape."""
    height, width = (round(edge / factor) * factor for edge in (image.height, image.width))
    if height * width > most:
        scale = math.sqrt(image.height * image.width / most)
        down = (
            max(factor, math.floor(edge / scale / factor) * factor) for edge in (image.height, image.width)
        )
        height, width = down
    elif height * width < least:
        scale = math.sqrt(least / (image.height * image.width))
        height, width = (math.ceil(edge * scale / factor) * factor for edge in (image.height, image.width))
    return height, width


def sizes_near(side: int, factor: int, most: int) -> Iterator[ImageSize]:
    """Sizes about the square that may use up a limit of pixels better than it does."""
    for step in range(8):
        height = max(factor, side - step * factor)
        yield ImageSize(max(factor, most // height // factor * factor), height)


def tile_grid(image: ImageSize, edge: int, low: int, high: int) -> tuple[int, int]:
    """Columns and rows with the shape nearest to the image's; among equals, more tiles while half of them is filled."""
    grids = [(c, r) for c in range(1, high + 1) for r in range(1, high + 1) if low <= c * r <= high]
    best, best_difference = (1, 1), math.inf
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(image.width / image.height - columns / rows)
        filled = image.width * image.height > 0.5 * edge * edge * columns * rows
        if difference < best_difference or (difference == best_difference and filled):
            best, best_difference = (columns, rows), difference
    return best


IDEFICS3_LIMIT = 4096
"""No edge is scaled to more pixels than this."""


def idefics3_grid(image: ImageSize, longest: int, tile: int) -> tuple[int, int]:
    """Rows and columns of tiles; none where the image is one tile."""
    shape = image.width / image.height
    if image.width >= image.height:
        width, height = longest, int(longest / shape)
        height += height % 2
    else:
        width, height = int(longest * shape), longest
        width += width % 2
    width, height = max(width, 1), max(height, 1)
    if max(width, height) > IDEFICS3_LIMIT:
        shape = width / height
        wide = width >= height
        width, height = (
            (IDEFICS3_LIMIT, int(IDEFICS3_LIMIT / shape))
            if wide
            else (int(IDEFICS3_LIMIT * shape), IDEFICS3_LIMIT)
        )
    rows, columns = math.ceil(max(height, 1) / tile), math.ceil(max(width, 1) / tile)
    return (rows, columns) if rows > 1 or columns > 1 else (0, 0)
