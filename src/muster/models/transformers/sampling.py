"""Sampling that gives a request the same draws in whatever batch it runs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from muster.core import Generation, RequestKey
from muster.models.seeding import request_seed


class SeededSampling:
    """A logits processor that picks each row's token itself and leaves only that one possible.

    `generate` then decodes greedily and takes the picked token. Each row draws one number per token from a generator
    of its own, seeded by the generation seed and the request's key, and inverts the cumulative distribution
    with it; neither the batch's other rows nor its order enter. So a request's text depends on its batch only
    through the rounding of the logits, as greedy decoding does.
    """

    def __init__(self, generation: Generation, rows: Sequence[random.Random]) -> None:
        """`rows`: what each draws from, as `draws` makes it."""
        self._generation = generation
        self._rows = rows

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) in which only the drawn token is finite."""
        order, probabilities = self._distribution(scores.float() / self._generation.temperature)
        cumulative = probabilities.cumsum(dim=-1)
        drawn = torch.tensor([row.random() for row in self._rows], device=scores.device).unsqueeze(-1)
        position = (cumulative <= drawn * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
        # Rounding may put the draw at the very end; the last token with any probability is meant then.
        last = (probabilities > 0).cumsum(dim=-1).argmax(dim=-1, keepdim=True)
        token = order.gather(-1, torch.minimum(position, last))
        return torch.full_like(scores, float("-inf")).scatter_(-1, token, 0.0)

    def _distribution(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and their unnormalised probabilities, likeliest first, after top-k and top-p."""
        top_k = self._generation.top_k
        if top_k is not None and 0 < top_k < logits.shape[-1]:
            logits, order = logits.topk(top_k, dim=-1)
        else:
            logits, order = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = logits.softmax(dim=-1)
        if self._generation.top_p < 1.0:
            # A token stays while what comes before it sums to less than top_p; so the first always does.
            before = probabilities.cumsum(dim=-1) - probabilities
            probabilities = probabilities.masked_fill(before >= self._generation.top_p, 0.0)
            probabilities[:, 0] = probabilities[:, 0].clamp_min(torch.finfo(probabilities.dtype).tiny)
        return order, probabilities


def draws(generation: Generation, key: RequestKey) -> random.Random:
    """A request's own random numbers."""
    return random.Random(request_seed(generation.seed, key))
