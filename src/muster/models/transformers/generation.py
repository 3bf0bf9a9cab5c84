"""One batch on the device: tokens out, rows ended one by one, answers cut at their stop strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from transformers import GenerationMixin

from muster.core import ConfigurationError
from muster.models.transformers.cache_names import CacheInput, cache_among
from muster.models.transformers.image_cache import ImageCache
from muster.models.transformers.interfaces import Inputs, Tokenizer
from muster.models.transformers.loading import Loaded
from muster.models.transformers.preparation import Batch
from muster.models.transformers.sampling import SeededSampling, draws

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


class Prompts(NamedTuple):
    """What `model.generate` makes of a batch before it reads the prompts."""

    input_ids: torch.Tensor
    """(rows, tokens)"""
    processors: Sequence[LogitsProcessor]
    """Of the model's generation settings; without the drawing of tokens."""
    inputs: dict[str, object]
    """Everything else."""
    cache: CacheInput | None
    """The empty cache, which is among `inputs`."""


class Generator:
    """Runs batches through `model.generate`."""

    def __init__(self, loaded: Loaded, tokenizer: Tokenizer, last: Sequence[LogitsProcessor] = ()) -> None:
        """`last`: what has the last word about every token, after sampling."""
        self.model = loaded.model
        self._device = loaded.input_device
        self._tokenizer = tokenizer
        self._context_limit = loaded.context_limit
        self._last = last
        self.watchers: list[LogitsProcessor] = []
        """See `watched`."""
        self.images: ImageCache | None = None
        """Features of images that were seen before; None: each is looked at again."""
        self.own_generate = has_own_generate(loaded.model)
        """Whether the model brings a `generate` of its own."""
        self._own = loaded.own
        settings = loaded.model.generation_config
        padding = {tokenizer.pad_token_id, getattr(settings, "pad_token_id", None)}
        self._padding = padding - self._own.end_tokens

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises whatever the device raises."""
        return self.generate(batch, self.place(batch.inputs))

    @contextmanager
    def watched(self, watcher: LogitsProcessor) -> Iterator[None]:
        """Meanwhile, show `watcher` the scores of every token."""
        self.watchers.append(watcher)
        try:
            yield
        finally:
            self.watchers.remove(watcher)

    def place(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Inputs where the model wants them; pixels in its precision, times in theirs."""
        dtype = self.model.dtype
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
        if self.images is not None:
            self.images.expect(batch)
        settings = batch.rows[0].request.generation
        ends = RowEnds(self.ends(batch))
        rows = [draws(settings, row.request.key) for row in batch.rows]
        sampling = [SeededSampling(settings, rows)] if settings.temperature > 0 else []
        with torch.inference_mode():
            output = self.model.generate(
                **inputs,
                max_new_tokens=max(row.budget for row in ends.rows),
                do_sample=False,
                logits_processor=[*self.watchers, *sampling, *self._last],
                stopping_criteria=[ends],
            )
        begin = self._answers_begin(output, inputs["input_ids"], ends.steps)
        return [self._read(row, ends, index) for index, row in enumerate(output[:, begin:].tolist())]

    def tokens_of(self, text: str) -> list[int]:
        """The tokens of a text alone."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def lead(self, inputs: Mapping[str, torch.Tensor], leader: LogitsProcessor, steps: int) -> None:
        """Have `leader` decide so many tokens after the prompts. Raises `ConfigurationError` where it can't be led."""
        if self.own_generate:
            raise ConfigurationError(
                f"{type(self.model).__name__} decodes in its own way: how likely a text is can't be told"
            )
        with torch.inference_mode():
            self.model.generate(
                **inputs,
                max_new_tokens=steps,
                do_sample=False,
                logits_processor=[leader],
            )

    def prompts(self, inputs: Mapping[str, torch.Tensor]) -> Prompts:
        """What `model.generate` would begin with: positions, masks, an empty cache, its processors of logits."""

        def instead_of_decoding(
            _model: object,
            input_ids: torch.Tensor,
            logits_processor: Sequence[LogitsProcessor],
            stopping_criteria: object,  # noqa: ARG001
            generation_config: object,  # noqa: ARG001
            **inputs: object,
        ) -> Prompts:
            return Prompts(input_ids, logits_processor, inputs, cache_among(inputs))

        begun: object = self.model.generate(
            **inputs, max_new_tokens=1, do_sample=False, custom_generate=instead_of_decoding
        )
        if not isinstance(begun, Prompts):  # a model may bring a `generate` of its own
            raise TypeError(f"{type(self.model).__name__}.generate decodes in its own way")
        return begun

    def ends(self, batch: Batch) -> list[RowEnd]:
        """Where each row's answer is over."""
        return [
            RowEnd(
                self._tokenizer,
                self._own.end_tokens,
                tuple(filter(None, (*row.request.generation.stop, *self._own.stop_strings))),
                budget,
                self._own.end_forced,
            )
            for row, budget in zip(batch.rows, self.budgets(batch), strict=True)
        ]

    def budgets(self, batch: Batch) -> list[int]:
        """How many tokens each row may generate: its own limit, whatever the batch's padding."""
        wanted = [row.request.generation.max_new_tokens for row in batch.rows]
        if self._context_limit is None:
            return wanted
        room = (self._context_limit - tokens for tokens in batch.prompt_tokens)
        return [min(pair) for pair in zip(wanted, room, strict=True)]

    def _answers_begin(self, output: torch.Tensor, prompts: torch.Tensor, steps: int) -> int:
        """The column of `generate`'s output where the answers begin.

        Before them comes the prompt (of decoders), a token to start with (of encoders with a decoder), nothing, or what
        a model's own `generate` has made of the prompt: BLIP's takes off its last token. So the steps are counted.

        Raises:
            ConfigurationError: the model decodes in its own way, and its output doesn't begin with the prompt.
        """
        if steps:
            return output.shape[1] - steps
        length = prompts.shape[1]
        if not torch.equal(output[:, :length], prompts.to(output.device)):
            raise ConfigurationError(
                f"{type(self.model).__name__}.generate decodes in its own way, and returns token ids that don't begin "
                "with the prompt's: where its answers begin can't be told"
            )
        return length

    def _read(self, tokens: list[int], ends: RowEnds, index: int) -> Answer:
        """The answer in a row of generated tokens, which is padded once the row has ended."""
        if self.own_generate:  # it may end rows at tokens that no configuration names
            while tokens and tokens[-1] in self._padding:
                tokens.pop()
        eos = next(
            (place + 1 for place, token in enumerate(tokens) if token in self._own.end_tokens), len(tokens)
        )
        # What follows the row's end is padding, which some tokenizers spell like EOS.
        length = min(eos, ends.lengths[index] or len(tokens), ends.rows[index].budget)
        return ends.rows[index].answer(tokens[:length])


@dataclass(frozen=True, slots=True)
class RowEnd:
    """Where one answer is over: at an end token, a stop string or its budget of tokens."""

    tokenizer: Tokenizer
    eos: frozenset[int]
    stop: tuple[str, ...]
    budget: int
    end_forced: bool = False
    """Whether the last token that the budget allows is the end token, whatever the model would say."""

    def reached(self, tokens: Sequence[int]) -> bool:
        """Whether the answer ends with the last of its tokens."""
        return tokens[-1] in self.eos or len(tokens) >= self.budget or self.stopped(tokens)

    def stopped(self, tokens: Sequence[int]) -> bool:
        """Whether there is a stop string in it. It is looked for at the end; those before were asked before."""
        if not self.stop:
            return False
        window = TOKENS_PER_CHARACTER * max(map(len, self.stop)) + 4
        if first_stop(self._decode(tokens[-window:]), self.stop) is None:
            return False
        # The window may begin inside a character or a word; the whole answer decides.
        return first_stop(self._decode(tokens), self.stop) is not None

    def answer(self, tokens: Sequence[int]) -> Answer:
        """What was said, given all tokens up to the end."""
        cut_off = 0 < len(tokens) == self.budget and tokens[-1] not in self.eos
        text = self._decode(tokens[:-1] if cut_off and self.end_forced else tokens)
        cut = first_stop(text, self.stop)
        if cut is not None:
            return Answer(text[:cut], len(tokens), "stop")
        ended = len(tokens) < self.budget or bool(tokens and tokens[-1] in self.eos)
        return Answer(text, len(tokens), "stop" if ended else "length")

    def _decode(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)


class RowEnds:
    """A stopping criterion for `generate` that ends each row at its own stop string or budget."""

    def __init__(self, rows: Sequence[RowEnd]) -> None:
        self.rows = rows
        self.lengths: list[int | None] = [None] * len(rows)
        """Per row, how many tokens it had when it ended here."""
        self._said: list[list[int]] = [[] for _ in rows]
        self.steps = 0
        """How many tokens each row has, those after its end included."""
        self._needed = any(row.stop for row in rows) or len({row.budget for row in rows}) > 1
        self._none: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        """Which rows are done (rows,), given all tokens so far (rows, tokens). Called once for every token."""
        self.steps += 1
        if not self._needed:  # the largest budget is every row's
            if self._none is None:
                self._none = torch.zeros(len(self.rows), dtype=torch.bool, device=input_ids.device)
            return self._none
        if any(row.stop for row in self.rows):
            for said, token in zip(self._said, input_ids[:, -1].tolist(), strict=True):
                said.append(token)
        for index, row in enumerate(self.rows):
            if self.lengths[index] is None and (self.steps >= row.budget or row.stopped(self._said[index])):
                self.lengths[index] = self.steps
        return torch.tensor([end is not None for end in self.lengths], device=input_ids.device)


def has_own_generate(model: object) -> bool:
    """Whether a model brings a `generate` of its own in place of transformers'."""
    return isinstance(model, GenerationMixin) and type(model).generate is not GenerationMixin.generate


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the earliest stop string begins, or None."""
    return min((place for string in stop if (place := text.find(string)) >= 0), default=None)
