"""Pictures that say which frame they are, which way up they belong and whether their colours are right."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

COLUMNS, ROWS, BLOCK = 6, 5, 16
WIDTH, HEIGHT = COLUMNS * BLOCK, ROWS * BLOCK
BITS = 2 * COLUMNS
TOP = (1, 0, 1, 1, 0, 0)
"""The first row of blocks: the same in every picture, and in no other direction."""
COLOURS = ((210, 50, 50), (50, 190, 70), (60, 60, 210))
"""The last row, two blocks each."""
MOST_COLOUR_ERROR = 12
"""By how much a mean colour may miss what was drawn, after a code with losses."""

Picture = np.ndarray[Any, np.dtype[np.uint8]]


class Read(NamedTuple):
    """What a picture says."""

    number: int
    way: str
    """`""` where it stands upright; otherwise what was done to it: `turned 90°`, `mirrored` …"""
    colour_error: int
    """The largest difference between a mean colour and what was drawn."""


def _way(turns: int, *, mirrored: bool) -> str:
    return " ".join(["mirrored"] * mirrored + [f"turned {90 * turns}°"] * (turns > 0))


WAYS = tuple(
    (_way(turns, mirrored=mirrored), turns, mirrored) for mirrored in (False, True) for turns in range(4)
)
"""Anticlockwise after mirroring left and right."""


def drawn(number: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """The picture of a frame (height, width, 3)."""
    cells = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    bits = [number >> bit & 1 for bit in range(BITS)]
    cells[0] = np.array(TOP)[:, None] * 255
    cells[1] = np.array(bits[:COLUMNS])[:, None] * 255
    cells[2] = np.array(bits[COLUMNS:])[:, None] * 255
    cells[3] = np.array(_check(number))[:, None] * 255
    cells[4] = np.repeat(np.array(COLOURS, np.uint8), 2, axis=0)
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.ascontiguousarray(cells[rows][:, columns])


def turned(picture: Picture, turns: int, *, mirrored: bool) -> Picture:
    """Mirrored left and right, then turned anticlockwise."""
    return np.ascontiguousarray(np.rot90(picture[:, ::-1] if mirrored else picture, turns))


def read(picture: Picture) -> Read | None:
    """Which frame a picture is; None where it can't be read."""
    for name, turns, mirrored in WAYS:
        upright = np.rot90(picture, -turns)
        if (found := _upright(upright[:, ::-1] if mirrored else upright)) is not None:
            return Read(found[0], name, found[1])
    return None


def _upright(picture: Picture) -> tuple[int, int] | None:
    height, width = picture.shape[:2]
    rows = [int((2 * row + 1) * height / (2 * ROWS)) for row in range(ROWS)]
    columns = [int((2 * column + 1) * width / (2 * COLUMNS)) for column in range(COLUMNS)]
    cells = np.array(
        [[picture[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1)) for x in columns] for y in rows]
    )
    bits = (cells[:4].mean(axis=2) > 127).astype(int)
    number = sum(int(bit) << place for place, bit in enumerate(bits[1:3].ravel()))
    if tuple(bits[0]) != TOP or tuple(bits[3]) != _check(number):
        return None
    wanted = np.repeat(np.array(COLOURS, float), 2, axis=0)
    return number, int(np.abs(cells[4] - wanted).max())


def _check(number: int) -> tuple[int, ...]:
    code = (number * 37 + 11) % 61
    return tuple(code >> bit & 1 for bit in range(COLUMNS))
