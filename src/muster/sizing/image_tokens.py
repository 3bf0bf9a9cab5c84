"""How many tokens an image puts into the prompt of each family, and how much the vision tower works for it.

The formulas are those of the families' processors in transformers, and the tests compare them with the processors. A
family that isn't known gets an upper bound, with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from muster.core import JSON, ConfigurationError
from muster.scheduling.cost import IMAGE_TOKEN_LIMITS
from muster.sizing.architecture import Architecture
from muster.sizing.checkpoint import Config
from muster.sizing.image_grids import (
    ImageSize,
    best_resolution,
    idefics3_grid,
    sizes_near,
    smart_size,
    tile_grid,
    without_padding,
)


class ImageCost(NamedTuple):
    """What one image costs."""

    tokens: int
    """In the prompt, with the markers around it."""
    patches: int
    """That go through the vision tower."""


Rule = Callable[[ImageSize], ImageCost]
MOST = 2**31
"""Tokens or patches of an image; more is a mistake in a file."""
_TRIED = (ImageSize(640, 480), ImageSize(336, 1008), ImageSize(1920, 1080))


@dataclass(frozen=True, slots=True)
class ImageRule:
    """How a model turns images into tokens."""

    cost: Rule
    largest: ImageSize
    """A size of image that takes the most tokens (or as good as)."""
    reason: str
    """In words."""
    exact: bool = True
    """False for an upper bound."""

    @property
    def most(self) -> ImageCost:
        """The most that one image can cost."""
        return self.cost(self.largest)


def image_rule(architecture: Architecture, config: Config, processor: Config) -> ImageRule:
    """The rule of a model's family. Raises `ConfigurationError` for settings by which no image can be counted."""
    build = _FAMILIES.get(architecture.family)
    if build is None or architecture.vision is None:
        return _unknown(architecture)
    try:
        rule = build(_Model(architecture, config, processor))
        costs = [rule.cost(size) for size in (rule.largest, *_TRIED)]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ConfigurationError(_nonsense(architecture, f"{type(error).__name__}: {error}")) from error
    if not all(0 <= cost.tokens <= MOST and 0 <= cost.patches <= MOST for cost in costs):
        raise ConfigurationError(_nonsense(architecture, f"{max(cost.tokens for cost in costs):,} tokens"))
    return rule


def _nonsense(architecture: Architecture, what: str) -> str:
    return (
        "config.json or preprocessor_config.json says something of images that can't be for a model of type "
        f"{architecture.family}: counting the tokens of an image gives {what}. Compare them with the model's page"
    )


class _Model(NamedTuple):
    architecture: Architecture
    config: Config
    processor: Config

    @property
    def patch(self) -> int:
        assert self.architecture.vision is not None
        return self.architecture.vision.patch

    def edge(self, default: int) -> int:
        vision = self.architecture.vision
        return (vision.image if vision else None) or default

    def number(self, name: str, default: int) -> int:
        value = self.processor.get(name, self.config.get(name))
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.processor.get(name)
        return value if isinstance(value, bool) else default

    @property
    def beside_patches(self) -> int:
        """LLaVA's: tokens that an image has beside those of its patches (a CLIP tower's class token, where it is kept).

        The processor decides it by two settings of its own; where the files lack them, the model's configuration.
        """
        strategy = self.config.get("vision_feature_select_strategy", "default")
        if "num_additional_image_tokens" not in self.processor:
            return int(strategy == "full")
        kept = self.number("num_additional_image_tokens", 0)
        return kept - (self.processor.get("vision_feature_select_strategy") == "default")

    def sizes(self, name: str = "size") -> dict[str, int]:
        value = self.processor.get(name)
        if isinstance(value, int):
            return {"shortest_edge": value}
        return (
            {key: int(v) for key, v in value.items() if isinstance(v, int)} if isinstance(value, dict) else {}
        )


def _unknown(architecture: Architecture) -> ImageRule:
    limit = IMAGE_TOKEN_LIMITS[1]
    if architecture.vision is None:
        return ImageRule(lambda _: ImageCost(0, 0), ImageSize(1, 1), "no vision tower: a language model")
    reason = f"Muster doesn't know how {architecture.family or 'this model'} counts: an upper bound of most families"
    return ImageRule(lambda _: ImageCost(limit, 4 * limit), ImageSize(1024, 1024), reason, exact=False)


def _llava(model: _Model) -> ImageRule:
    edge = model.sizes("crop_size").get("height") or model.edge(336)
    beside = model.beside_patches

    def cost_of(patches: int) -> ImageCost:
        return ImageCost(patches + beside, patches + 1)

    shortest = model.sizes().get("shortest_edge")
    if shortest and not model.flag("do_center_crop", default=True):

        def uncropped(image: ImageSize) -> ImageCost:
            short, long = sorted(image)
            return cost_of(shortest // model.patch * (int(shortest * long / short) // model.patch))

        wide = ImageSize(UNCROPPED_SHAPE * shortest, shortest)
        return ImageRule(
            uncropped, wide, f"the shorter edge of every image is scaled to {shortest}", exact=False
        )
    fixed = cost_of((edge // model.patch) ** 2)
    return ImageRule(lambda _: fixed, ImageSize(edge, edge), f"every image is scaled to {edge}×{edge}")


UNCROPPED_SHAPE = 4
"""How many times as wide as high the widest images are taken to be where nothing bounds them."""


DEFAULT_PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


def _llava_next(model: _Model) -> ImageRule:
    pinpoints = model.processor.get("image_grid_pinpoints") or model.config.get("image_grid_pinpoints")
    grids = cast("list[list[int]]", pinpoints or DEFAULT_PINPOINTS)
    size = model.sizes()
    edge = size.get("shortest_edge") or min(size.get("height", 0), size.get("width", 0)) or model.edge(336)
    side = edge // model.patch
    beside = model.beside_patches

    def cost(image: ImageSize) -> ImageCost:
        height, width = best_resolution(image, grids)
        rows, columns = height // edge, width // edge
        kept_rows, kept_columns = without_padding(image, side * rows, side * columns)
        # The whole image in one tile, the tiles without their padding, and a newline after each row of patches.
        tokens = side * side + beside + kept_rows * kept_columns + kept_rows
        return ImageCost(tokens, (rows * columns + 1) * (side * side + 1))

    largest = max((ImageSize(width, height) for height, width in grids), key=lambda image: cost(image).tokens)
    return ImageRule(
        cost, largest, f"anyres: up to {largest.width}×{largest.height} in tiles of {edge}×{edge}"
    )


def _qwen(model: _Model) -> ImageRule:
    size = model.sizes()
    merge = model.number("merge_size", 2)
    least = model.number("min_pixels", 0) or size.get("shortest_edge") or size.get("min_pixels") or 56 * 56
    most = (
        model.number("max_pixels", 0) or size.get("longest_edge") or size.get("max_pixels") or 28 * 28 * 1280
    )
    factor = model.patch * merge

    def cost(image: ImageSize) -> ImageCost:
        height, width = smart_size(image, factor, least, most)
        patches = (height // model.patch) * (width // model.patch)
        return ImageCost(patches // merge**2 + 2, patches)  # with <|vision_start|> and <|vision_end|>

    edge = math.isqrt(most) // factor * factor
    side = max(edge, factor)
    largest = max(sizes_near(side, factor, most), key=lambda image: cost(image).tokens)
    return ImageRule(
        cost, largest, f"by resolution: a token per {factor}×{factor} pixels, at most {most:,} pixels"
    )


MOST_TILES = 1024
"""InternVL's grids are all tried, and there are about n·ln n of n tiles."""


def _internvl(model: _Model) -> ImageRule:
    size = model.sizes()
    edge = size.get("height") or model.edge(448)
    ratio = model.config.get("downsample_ratio", 0.5)
    per_tile = model.number("image_seq_length", int((edge // model.patch * float(cast("float", ratio))) ** 2))
    low, high = (
        model.number("min_patches", 1),
        model.number("max_patches", model.number("max_dynamic_patch", 12)),
    )
    if high > MOST_TILES:
        raise ValueError(f"up to {high} tiles")
    # transformers' class cuts into tiles whatever the saved files say (5.24); the model's own code asks config.json.
    own_code = model.architecture.family == "internvl_chat"
    tiled = not own_code or model.config.get("dynamic_image_size") is not False
    thumbnail = not own_code or model.config.get("use_thumbnail") is not False
    low = model.number("min_dynamic_patch", low) if own_code else low
    per_tile_patches = (edge // model.patch) ** 2 + 1

    def cost(image: ImageSize) -> ImageCost:
        columns, rows = tile_grid(image, edge, low, high) if tiled and high > 1 else (1, 1)
        tiles = columns * rows + (thumbnail and columns * rows > 1)  # and the whole image in one more
        return ImageCost(tiles * per_tile + 2, tiles * per_tile_patches)  # with <img> and </img>

    grids = [(c, r) for c in range(1, high + 1) for r in range(1, high + 1) if c * r <= high]
    largest = max((ImageSize(c * edge, r * edge) for c, r in grids), key=lambda image: cost(image).tokens)
    return ImageRule(
        cost, largest, f"up to {high if tiled else 1} tiles of {edge}×{edge}, {per_tile} tokens each"
    )


def _idefics3(model: _Model) -> ImageRule:
    tile = model.sizes("max_image_size").get("longest_edge") or model.edge(364)
    longest = model.sizes().get("longest_edge") or 4 * 364
    scale = model.number("scale_factor", 2)
    per_tile = model.number("image_seq_len", (tile // model.patch) ** 2 // scale**2)
    split = model.flag("do_image_splitting", default=True)
    patches = (tile // model.patch) ** 2

    def cost(image: ImageSize) -> ImageCost:
        rows, columns = idefics3_grid(image, longest, tile) if split else (0, 0)
        # Each tile has two markers, each row a line break; the whole image three markers, and a line break before it.
        tokens = rows * (columns * (per_tile + 2) + 1) + per_tile + 3 + (rows > 0)
        return ImageCost(tokens, (rows * columns + 1) * patches)

    largest = ImageSize(longest, longest)
    return ImageRule(
        cost, largest, f"scaled to {longest} pixels, in tiles of {tile}×{tile}, {per_tile} tokens each"
    )


def _fixed(model: _Model) -> ImageRule:
    """PaliGemma, Gemma 3 (without pan and scan): as many tokens for every image."""
    edge = model.sizes().get("height") or model.edge(224)
    patches = (edge // model.patch) ** 2
    said: JSON = model.config.get("mm_tokens_per_image") or model.processor.get("image_seq_length")
    tokens = said if isinstance(said, int) else patches
    around = 4 if "mm_tokens_per_image" in model.config else 0  # two line breaks and markers on each side
    return ImageRule(
        lambda _: ImageCost(tokens + around, patches),
        ImageSize(edge, edge),
        f"every image is scaled to {edge}×{edge}",
    )


_FAMILIES: dict[str, Callable[[_Model], ImageRule]] = {
    "llava": _llava,
    "vipllava": _llava,
    "llava_next": _llava_next,
    "qwen2_vl": _qwen,
    "qwen2_5_vl": _qwen,
    "qwen3_vl": _qwen,
    "qwen3_vl_moe": _qwen,
    "internvl": _internvl,
    "internvl_chat": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "paligemma": _fixed,
    "gemma3": _fixed,
}
