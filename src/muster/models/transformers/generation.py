"""One batch on the device: tokens out, rows ended one by one, answers cut at their stop strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from muster.core import Generation
from muster.models.transformers.interfaces import Inputs, Tokenizer
from muster.models.transformers.loading import Loaded
from muster.models.transformers.preparation import Batch
from muster.models.transformers.sampling import SeededSampling

FinishReason = Literal["stop", "length"]
LogitsProcessor: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

TOKENS_PER_CHARACTER = 4
"""A stop string of n characters spans at most 4n tokens where tokens are bytes."""


TIMES = frozenset({"second_per_grid_ts"})
"""Inputs whose values are positions in time: half precision would move them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to one row."""

    text: str
    tokens: int
    """Generated tokens, the ending one included."""
    finish_reason: FinishReason


class Generator:
    """Runs batches through `model.generate`."""

    def __init__(self, loaded: Loaded, tokenizer: Tokenizer, last: Sequence[LogitsProcessor] = ()) -> None:
        """`last`: what has the last word about every token, after sampling."""
        self._model, self._device = loaded.model, loaded.input_device
        self._tokenizer = tokenizer
        self._context_limit = loaded.context_limit
        self._last = last
        eos = loaded.model.generation_config.eos_token_id
        self._eos = frozenset([eos] if isinstance(eos, int) else eos or [])

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises whatever the device raises."""
        return self.generate(batch, self.place(batch.inputs))

    def place(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Inputs where the model wants them; pixels in its precision, times in theirs."""
        dtype = self._model.dtype
        return {
            name: value.to(
                self._device,
                dtype if value.is_floating_point() and name not in TIMES else None,
                non_blocking=True,
            )
            for name, value in inputs.items()
        }

    def generate(self, batch: Batch, inputs: Mapping[str, torch.Tensor]) -> list[Answer]:
        """Answers of a batch whose inputs are in place already."""
        settings = batch.rows[0].request.generation
        start = 1 if self._model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
        ends = RowEnds(self._tokenizer, settings.stop, start, self._budgets(batch, settings))
        sampling = (
            [SeededSampling(settings, [row.request.key for row in batch.rows])]
            if settings.temperature > 0
            else []
        )
        with torch.inference_mode():
            output = self._model.generate(
                **inputs,
                max_new_tokens=max(ends.budgets),
                do_sample=False,
                logits_processor=[*sampling, *self._last],
                stopping_criteria=[ends] if ends.needed else [],
            )
        return [self._read(row, ends, index) for index, row in enumerate(output[:, start:].tolist())]

    def _budgets(self, batch: Batch, settings: Generation) -> list[int]:
        """How many tokens each row may still generate: its own limit, whatever the batch's padding."""
        if self._context_limit is None:
            return [settings.max_new_tokens] * len(batch)
        return [min(settings.max_new_tokens, self._context_limit - tokens) for tokens in batch.prompt_tokens]

    def _read(self, tokens: list[int], ends: RowEnds, index: int) -> Answer:
        """The answer in a row of generated tokens, which is padded once the row has ended."""
        eos = next((place + 1 for place, token in enumerate(tokens) if token in self._eos), len(tokens) + 1)
        # What follows the row's end is padding, which some tokenizers spell like EOS.
        length = min(len(tokens), eos, ends.lengths[index] or len(tokens), ends.budgets[index])
        text = self._tokenizer.decode(tokens[:length], skip_special_tokens=True)
        cut = first_stop(text, ends.stop)
        if cut is not None:
            return Answer(text[:cut], length, "stop")
        return Answer(text, length, "stop" if length == eos else "length")


class RowEnds:
    """A stopping criterion that ends each row at its own stop string or token budget.

    Looks at the last few tokens of each row, and at the whole row where those show a stop string. A row's end doesn't
    depend on the others'.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], start: int, budgets: Sequence[int]) -> None:
        self.stop = tuple(text for text in stop if text)
        self.budgets = budgets
        self.lengths: list[int | None] = [None] * len(budgets)
        """Per row, how many tokens it had when it ended here."""
        self._tokenizer = tokenizer
        self._start = start
        self._window = TOKENS_PER_CHARACTER * max((len(text) for text in self.stop), default=0) + 4

    @property
    def needed(self) -> bool:
        """Whether it can end any row before `max(budgets)` tokens."""
        return bool(self.stop) or len(set(self.budgets)) > 1

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        """Which rows are done (rows,), given all tokens so far (rows, tokens)."""
        length = input_ids.shape[1] - self._start
        recent = (
            input_ids[:, max(self._start, input_ids.shape[1] - self._window) :].tolist() if self.stop else []
        )
        for index, budget in enumerate(self.budgets):
            if self.lengths[index] is None and (
                length >= budget or (self.stop and self._stops(recent[index], input_ids[index]))
            ):
                self.lengths[index] = length
        return torch.tensor([end is not None for end in self.lengths], device=input_ids.device)

    def _stops(self, recent: list[int], row: torch.Tensor) -> bool:
        if first_stop(self._decode(recent), self.stop) is None:
            return False
        # The window may begin inside a character or a word; the whole answer decides.
        return first_stop(self._decode(row[self._start :].tolist()), self.stop) is not None

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the earliest stop string begins, or None."""
    return min((place for string in stop if (place := text.find(string)) >= 0), default=None)
