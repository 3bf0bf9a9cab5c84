"""Tiles of images: the same, to the bit, as InternVL's own code cuts them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from muster.models.chat.tiling import MEAN, STD, Grid, Tiling, grids, pixel_values

GOLDEN = json.loads((Path(__file__).parent / "golden" / "internvl_grids.json").read_text())


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def test_grids_are_those_of_the_reference() -> None:
    for width, height, smallest, largest, columns, rows in GOLDEN["cases"]:
        found = Tiling(448, smallest, largest).grid(width, height)
        assert found == Grid(columns, rows), (width, height, smallest, largest)


@pytest.mark.parametrize("size", [(640, 480), (1000, 200), (31, 900), (448, 448), (8, 8), (56, 112)])
@pytest.mark.parametrize("largest", [1, 6, 12])
def test_pixels_are_those_of_transformers_implementation(size: tuple[int, int], largest: int) -> None:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    processor = GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56},
        image_mean=list(MEAN),
        image_std=list(STD),
        crop_to_patches=True,
        min_patches=1,
        max_patches=largest,
    )
    image = picture(*size)
    theirs = processor(image, return_tensors="pt")["pixel_values"]
    ours = pixel_values(Tiling(56, 1, largest).tiles(image))
    assert ours.shape == theirs.shape
    assert ours.equal(theirs)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 6), st.integers(6, 24))
def test_a_grid_is_within_its_bounds_and_none_is_closer(
    width: int, height: int, smallest: int, largest: int
) -> None:
    grid = Tiling(448, smallest, largest).grid(width, height)
    assert smallest <= grid.columns * grid.rows <= largest

    def distance(other: Grid) -> float:
        return abs(width / height - other.columns / other.rows)

    assert distance(grid) == min(map(distance, grids(smallest, largest)))


def test_a_larger_image_of_the_same_shape_has_no_fewer_tiles() -> None:
    counts = [
        grid.columns * grid.rows for side in range(50, 3000, 50) for grid in [Tiling().grid(side, side)]
    ]
    assert all(one <= two for one, two in pairwise(counts))
    assert counts[0] == 1
    assert counts[-1] == 9


def test_the_thumbnail_comes_last_and_not_alone() -> None:
    image = picture(100, 50)
    assert len(Tiling(28, 1, 6).tiles(image)) == 3
    assert len(Tiling(28, 1, 6, thumbnail=False).tiles(image)) == 2
    assert len(Tiling(28, 1, 1).tiles(image)) == 1
    *_, last = Tiling(28, 1, 6).tiles(image)
    assert last.tobytes() == image.resize((28, 28), Image.Resampling.BICUBIC).tobytes()
