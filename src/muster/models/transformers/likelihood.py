"""How likely given continuations are: the model is led through their tokens, and what it would say is noted.

The prompt is read as for an answer, with the same positions, masks and cache, so rows of a batch don't change each
other. The tokens of a continuation are its text's alone, without special ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from muster.core.likelihood import Likelihood, as_text, check_tokens
from muster.models.transformers.generation import Answer, Generator
from muster.models.transformers.preparation import Batch


class Led:
    """A logits processor that has each row say given tokens, and notes how likely they were."""

    def __init__(self, tokens: Sequence[Sequence[int]]) -> None:
        """`tokens`: of each row, at least one. A row that is through says its last one again."""
        self._tokens = tokens
        self.log_probabilities = [0.0] * len(tokens)
        self.greedy = [True] * len(tokens)
        self._step = 0

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores that leave one token; `scores`: (rows, vocabulary)."""
        said = torch.tensor(
            [row[min(self._step, len(row) - 1)] for row in self._tokens], device=scores.device
        )
        every = torch.log_softmax(scores.float(), dim=-1)
        picked = every.gather(1, said[:, None])[:, 0].tolist()
        best = scores.argmax(dim=-1).tolist()
        for row, tokens in enumerate(self._tokens):
            if self._step < len(tokens):
                self.log_probabilities[row] += picked[row]
                self.greedy[row] = self.greedy[row] and best[row] == tokens[self._step]
        self._step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, said[:, None], 0.0)


def likelihoods(generator: Generator, batch: Batch) -> list[Answer]:
    """Of each row's continuations, as the text of an answer, in the batch's order.

    Raises `SampleError` for a continuation without tokens, and whatever the device raises.
    """
    inputs = generator.place(batch.inputs)
    asked = [[generator.tokens_of(text) for text in row.request.continuations] for row in batch.rows]
    for each in asked:
        check_tokens(each)
    found: list[list[Likelihood]] = [[] for _row in asked]
    for number in range(max(map(len, asked))):
        # Of a row with fewer of them the last one again, which isn't noted.
        tokens = [row[min(number, len(row) - 1)] for row in asked]
        led = Led(tokens)
        generator.lead(inputs, led, max(map(len, tokens)))
        for place, row in enumerate(asked):
            if number < len(row):
                summed = led.log_probabilities[place]
                found[place].append(Likelihood(summed, len(tokens[place]), led.greedy[place]))
    return [Answer(as_text(each), sum(one.tokens for one in each), "stop") for each in found]
