"""Features of images that were seen a moment ago: several questions about one image run its vision tower once.

`generate` (transformers 5) asks `get_image_features` of a model for all images of a batch. Here that method looks first
among those kept, by the image's identity: the processor's settings are the same for a replica's whole life.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from muster.models.transformers.preparation import Batch

MEGABYTE = 1 << 20
GRID = "image_grid_thw"

Features = Callable[..., object]


class _SeesImages(Protocol):
    get_image_features: Features


class ImageCache:
    """Keeps the features of the images that were asked about last.

    It knows two layouts of pixels: a row per image (LLaVA), and patches with a grid per image (Qwen2.5-VL). Whatever is
    different goes through to the model as if nothing were here.
    """

    def __init__(self, megabytes: int) -> None:
        self._room = megabytes * MEGABYTE
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._bytes = 0
        self._names: tuple[str, ...] = ()
        self.reused = 0
        """Images that needed no vision tower."""

    def attach(self, model: object) -> None:
        """Stand in front of a model's method, where it has one."""
        base: _SeesImages | None = getattr(model, "base_model", None)
        ask = getattr(base, "get_image_features", None)
        if base is None or ask is None:
            return

        names = list(inspect.signature(ask).parameters)  # until 5.17 some models pass them by position

        # `generate` reads the method's signature, which `wraps` passes on.
        @functools.wraps(ask)
        def get_image_features(*args: object, **kwargs: object) -> object:
            return self._features(ask, dict(zip(names, args, strict=False)) | kwargs)

        base.get_image_features = get_image_features

    def expect(self, batch: Batch) -> None:
        """The images of the next call are those of this batch. Frames of videos have no names of their own."""
        media = [media for row in batch.rows for media in row.request.media]
        named = all(each.kind == "image" for each in media)
        self._names = tuple(each.pixels_identity for each in media) if named else ()

    def _features(self, ask: Features, given: dict[str, object]) -> object:
        names, self._names = self._names, ()
        pixels = _pixels_by_image(given, len(names))
        if pixels is None:
            return ask(**given)
        first = {name: place for place, name in reversed(list(enumerate(names)))}
        new = [
            place for name, place in sorted(first.items(), key=lambda item: item[1]) if name not in self._kept
        ]
        found = {name: self._kept[name] for name in first if name in self._kept}
        form: type[list[torch.Tensor]] | type[tuple[torch.Tensor, ...]] | None = None
        if new:
            asked = {**given, "pixel_values": torch.cat([pixels[place] for place in new])}
            if isinstance(grid := given.get(GRID), torch.Tensor):
                asked[GRID] = grid[new]
            output = ask(**asked)
            # Other classes have more in them that belongs to images.
            made = (
                getattr(output, "pooler_output", None) if type(output) is BaseModelOutputWithPooling else None
            )
            if not isinstance(made, list | tuple | torch.Tensor) or len(made) != len(new):
                return output if len(new) == len(names) else ask(**given)
            found.update(zip((names[place] for place in new), made, strict=True))
            form = None if isinstance(made, torch.Tensor) else type(made)
            self._stacked = form is None
        elif not self._stacked:
            form = tuple
        self._keep(found)
        self.reused += len(names) - len(new)
        in_order = [found[name] for name in names]
        pooled = torch.stack(in_order) if form is None else form(in_order)
        return BaseModelOutputWithPooling(pooler_output=pooled)

    _stacked = False
    """Whether the model answers with one tensor for all images."""

    def _keep(self, found: dict[str, torch.Tensor]) -> None:
        for name, features in found.items():
            if name not in self._kept:
                # A copy: a part of a batch's tensor would hold on to all of it.
                self._kept[name] = features.clone()
                self._bytes += _size(features)
            self._kept.move_to_end(name)
        while self._bytes > self._room:
            self._bytes -= _size(self._kept.popitem(last=False)[1])


def _pixels_by_image(given: dict[str, object], images: int) -> Sequence[torch.Tensor] | None:
    """Each image's part of the pixels; None where they lie in a way that isn't known."""
    pixels, grid = given.get("pixel_values"), given.get(GRID)
    others = {name for name, value in given.items() if value is not None} - {
        "pixel_values",
        GRID,
        "return_dict",
    }
    if not images or others or not isinstance(pixels, torch.Tensor):
        return None
    if isinstance(grid, torch.Tensor):
        sizes = [int(size) for size in grid.prod(-1).tolist()]
        return torch.split(pixels, sizes) if len(sizes) == images and sum(sizes) == len(pixels) else None
    return torch.split(pixels, 1) if pixels.ndim == 4 and len(pixels) == images else None


def _size(features: torch.Tensor) -> int:
    return features.numel() * features.element_size()
