"""Keys and values of rows that begin and end at different times: buffers with room for more, in place of copies.

Every row has a slot, and its tokens end in the last column; what is left of them is masked. transformers' own
`DynamicCache` copies everything for every token, and can't take in a row that comes later.
"""

from __future__ import annotations

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Columns made in advance: so many tokens are added before the buffers are copied."""


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer: `keys` and `values` (slots, heads, columns, size) are the first columns of larger buffers."""

    def __init__(self, like: DynamicLayer) -> None:
        """Without a slot yet, for keys and values of the same shape otherwise."""
        super().__init__()
        self.lazy_initialization(like.keys, like.values)
        self._buffers = (like.keys[:0], like.values[:0])
        self._show(0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add columns, for which there must be room; returns all."""
        begin = self.keys.shape[-2]
        end = begin + key_states.shape[-2]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = new
        self._show(end)
        return self.keys, self.values

    def write(self, slots: torch.Tensor, layer: DynamicLayer, rows: torch.Tensor) -> None:
        """Copy `rows` of another layer into slots, their last columns on the last columns here."""
        slots, rows = slots.to(self.keys.device), rows.to(layer.keys.device)
        for mine, new in ((self.keys, layer.keys), (self.values, layer.values)):
            mine[slots, :, mine.shape[-2] - new.shape[-2] :] = new[rows]

    def arrange(self, kept: torch.Tensor, slots: int, columns: int) -> None:
        """Make new buffers: the `kept` slots first; the last `columns` columns, zeros where there weren't as many."""
        before = (self.keys, self.values)
        # Zeros: what is masked is still multiplied, with nothing, and must be a number.
        self._buffers = tuple(
            each.new_zeros(slots, each.shape[1], columns + ROOM, each.shape[3]) for each in before
        )
        self._show(columns)
        kept = kept.to(self.keys.device)
        for mine, old in zip((self.keys, self.values), before, strict=True):
            both = min(columns, old.shape[-2])
            mine[: len(kept), :, columns - both :] = old[kept, :, old.shape[-2] - both :]

    def _show(self, columns: int) -> None:
        self.keys, self.values = (buffer[:, :, :columns] for buffer in self._buffers)


class SlotCache:
    """All layers. `cache` is what the model takes; it must be given one more column before `room` is used up."""

    def __init__(self, like: Cache) -> None:
        self._layers = [SlotLayer(layer) for layer in like.layers if isinstance(layer, DynamicLayer)]
        self.cache = Cache(layers=list(self._layers))
        self._made = 0

    @property
    def columns(self) -> int:
        """How many tokens the longest row can have in it."""
        return int(self._layers[0].keys.shape[-2])

    @property
    def full(self) -> bool:
        """Whether there is no room for another column."""
        return self.columns == self._made

    def write(self, slots: torch.Tensor, other: Cache, rows: torch.Tensor) -> None:
        """Copy `rows` of another cache, which is no wider, into slots."""
        for mine, layer in zip(self._layers, other.layers, strict=True):
            assert isinstance(layer, DynamicLayer)
            mine.write(slots, layer, rows)

    def arrange(self, kept: torch.Tensor, slots: int, columns: int) -> None:
        """Keep these slots, as the first of `slots`, and the last `columns` columns; with room for more of them."""
        for layer in self._layers:
            layer.arrange(kept, slots, columns)
        self._made = columns + ROOM


def unsuitable(cache: object, tokens: int) -> str | None:
    """Why rows can't be exchanged in a cache that holds so many tokens, or None."""
    if not isinstance(cache, DynamicCache):
        return f"its cache is a {type(cache).__name__}"
    for layer in cache.layers:
        if type(layer) is not DynamicLayer:
            return f"its cache has a {type(layer).__name__}"
        if layer.get_seq_length() != tokens:
            return "the layers of its cache differ in length"
    return None
