"""Rows that are answered at the same time, where one may end and others begin at any token."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from transformers import RepetitionPenaltyLogitsProcessor
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from muster.core import Completion, Request, Usage
from muster.models.transformers.cache_names import CacheInput, cache_of
from muster.models.transformers.generation import Generator, LogitsProcessor, Prompts, RowEnd
from muster.models.transformers.interfaces import ModelOutput, VisionLanguageModel
from muster.models.transformers.preparation import Batch
from muster.models.transformers.row_cache import SlotCache, unsuitable
from muster.models.transformers.sampling import SeededSampling, draws

MEDIA_INPUTS = frozenset(
    (*MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL, "image_grid_thw", "video_grid_thw", "second_per_grid_ts")
)
"""What a model looks at when it reads the prompt, and not again."""
PER_TOKEN_INPUTS = ("position_ids", "token_type_ids", "mm_token_type_ids")
"""What every token has one of: (…, rows, tokens)."""


class NotContinuousError(Exception):
    """Rows of this model can't be exchanged; the message says why."""


@dataclass(slots=True, eq=False)
class Running:
    """One row."""

    request: Request
    prompt_tokens: int
    end: RowEnd
    random: random.Random
    note: str | None = None
    """Of `Row`."""
    tokens: list[int] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @property
    def cached(self) -> int:
        """Its tokens that the cache holds: all but the latest."""
        return self.prompt_tokens + len(self.tokens) - 1

    def completion(self) -> Completion:
        """What it said, when it is over."""
        answer = self.end.answer(self.tokens)
        return Completion(
            self.request.key,
            text=answer.text,
            usage=Usage(self.prompt_tokens, answer.tokens),
            seconds=time.perf_counter() - self.began,
            finish_reason=answer.finish_reason,
            note=self.note,
        )


class RunningRows:
    """Decodes one token for every row at a time. The slot of a row that has ended waits for another row.

    Where `step` raises what the device raised, or `join` and the rows aren't `whole`, `clear` and begin again.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator, self._model = generator, generator.model
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.whole = True
        """No call was interrupted while it moved rows."""
        self._slots: list[Running | None] = []
        self._state: _State | None = None

    def __len__(self) -> int:
        return len(self._live)

    @property
    def requests(self) -> list[Request]:
        """What is being answered."""
        return [row.request for row in self._slots if row is not None]

    @property
    def _live(self) -> list[int]:
        """Slots with a row."""
        return [slot for slot, row in enumerate(self._slots) if row is not None]

    def accepts(self, batch: Batch) -> bool:
        """Whether tokens are chosen in the same way as for the rows that are there."""
        there = next((row for row in self._slots if row is not None), None)
        return there is None or _choice(batch.rows[0].request) == _choice(there.request)

    @torch.inference_mode()
    def join(self, batch: Batch) -> list[Completion]:
        """Read the prompts of a batch and add its rows. Returns the answers that end with their first token.

        Raises:
            NotContinuousError: its rows can't be added. Nothing has changed.
        """
        rows = [
            Running(row.request, tokens, end, draws(row.request.generation, row.request.key), row.note)
            for row, tokens, end in zip(
                batch.rows, batch.prompt_tokens, self._generator.ends(batch), strict=True
            )
        ]
        if self._generator.images is not None:
            self._generator.images.expect(batch)
        prompts = self._generator.prompts(self._generator.place(batch.inputs))
        if (reason := unsupported(prompts)) is not None:
            raise NotContinuousError(reason)
        assert prompts.cache is not None
        outputs = read_prompts(self._model, prompts)
        cache = cache_of(outputs, prompts.cache.name)
        if (reason := unsuitable(cache, prompts.input_ids.shape[1])) is not None:
            raise NotContinuousError(reason)
        new = _New.of(prompts, CacheInput(prompts.cache.name, cache))
        processors = [*for_exchanged_rows(prompts.processors), *self._generator.watchers]
        chosen = choose(processors, new.ids, outputs.logits[:, -1], rows)
        staying = [number for number, row in enumerate(rows) if not row.end.reached(row.tokens)]
        if staying:
            self.whole = False
            self._place(new, chosen, processors, staying, [rows[number] for number in staying])
            self.whole = True
        return [row.completion() for number, row in enumerate(rows) if number not in staying]

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """One more token for every row, of which there must be one. Returns the answers that end with it."""
        assert self._state is not None
        if self._state.cache.full or 2 * len(self) <= len(self._slots):
            self._arrange(len(self), self._widest)
        state = self._state
        state.mask = torch.nn.functional.pad(state.mask, (0, 1), value=1)
        outputs = self._model(
            **self._model.prepare_inputs_for_generation(
                state.ids,
                next_sequence_length=1,
                attention_mask=None if self._all_as_wide else state.mask,
                use_cache=True,
                **{state.cache_name: state.cache.cache},
                **state.per_token,
            ),
            return_dict=True,
        )
        live, logits, ids = self._live, outputs.logits[:, -1], state.ids
        rows = [row for row in self._slots if row is not None]
        if len(live) < len(self._slots):
            index = torch.tensor(live, device=ids.device)
            chosen = ids[:, -1].clone()
            chosen[index] = choose(state.processors, ids[index], logits[index], rows)
        else:
            chosen = choose(state.processors, ids, logits, rows)
        state.advance(chosen)
        ended = []
        for slot, row in zip(live, rows, strict=True):
            if row.end.reached(row.tokens):
                ended.append(row.completion())
                self._slots[slot] = None
                state.stop(slot)
        return ended

    @property
    def _widest(self) -> int:
        return max(row.cached for row in self._slots if row is not None)

    @property
    def _all_as_wide(self) -> bool:
        """Whether no row has anything left of it, so that nothing is masked."""
        assert self._state is not None
        columns = self._state.cache.columns
        return all(row is None or row.cached == columns for row in self._slots)

    def _place(
        self,
        new: _New,
        chosen: torch.Tensor,
        processors: Sequence[LogitsProcessor],
        numbers: list[int],
        rows: list[Running],
    ) -> None:
        if self._state is None or not len(self):
            self._slots, self._state = [], _State.like(new, processors)
        width = new.ids.shape[1]
        if self._slots.count(None) < len(rows) or width > self._state.cache.columns:
            self._arrange(
                max(len(self._slots), len(self) + len(rows)), max(width, self._widest if len(self) else 0)
            )
        slots = [slot for slot, row in enumerate(self._slots) if row is None][: len(rows)]
        for slot, row in zip(slots, rows, strict=True):
            self._slots[slot] = row
        self._state.write(slots, new, chosen, numbers)

    def _arrange(self, slots: int, columns: int) -> None:
        """Make room for so many slots and columns; the rows go into the first slots."""
        assert self._state is not None
        live = self._live
        self._state.arrange(live, slots, columns)
        kept = [self._slots[slot] for slot in live]
        self._slots = [*kept, *[None] * (slots - len(kept))]


@dataclass(slots=True, eq=False)
class _New:
    """Rows whose prompts have been read."""

    ids: torch.Tensor
    """(rows, tokens), a row's first token where there is padding."""
    mask: torch.Tensor
    per_token: dict[str, torch.Tensor]
    """Of the tokens that come next, (…, rows, 1)."""
    cache: CacheInput

    @classmethod
    def of(cls, prompts: Prompts, cache: CacheInput) -> Self:
        ids, given = prompts.input_ids, prompts.inputs.get("attention_mask")
        mask = given.to(ids.dtype) if isinstance(given, torch.Tensor) else torch.ones_like(ids)
        first = ids.gather(1, mask.argmax(dim=1, keepdim=True))
        per_token = {}
        for name in PER_TOKEN_INPUTS:
            value = prompts.inputs.get(name)
            if isinstance(value, torch.Tensor):
                latest = value[..., -1:].expand(*value.shape[:-2], len(ids), 1)
                per_token[name] = _next(name, latest)
        return cls(torch.where(mask == 0, first, ids), mask, per_token, cache)


@dataclass(slots=True, eq=False)
class _State:
    """What the device holds per slot. `ids` has a column more than `mask`: the latest tokens, not yet in the cache."""

    ids: torch.Tensor
    mask: torch.Tensor
    per_token: dict[str, torch.Tensor]
    """Of the latest tokens, (…, slots, 1)."""
    cache: SlotCache
    cache_name: str
    processors: Sequence[LogitsProcessor]
    moving: torch.Tensor
    """(slots, 1): 1 where there is a row, whose positions go on."""

    @classmethod
    def like(cls, new: _New, processors: Sequence[LogitsProcessor]) -> Self:
        """Without a slot."""
        none = new.ids[:0, :0]
        per_token = {name: value[..., :0, :] for name, value in new.per_token.items()}
        return cls(
            none, none, per_token, SlotCache(new.cache.cache), new.cache.name, processors, new.ids[:0, :1]
        )

    def arrange(self, kept: list[int], slots: int, columns: int) -> None:
        """The kept slots become the first of `slots`."""
        index = torch.tensor(kept, dtype=torch.long, device=self.ids.device)
        self.cache.arrange(index, slots, columns)
        self.mask = _fitted(self.mask[index], slots, columns)
        ids = self.ids[index]
        self.ids = _fitted(ids, slots, columns + 1)
        if 0 < ids.shape[1] <= columns:
            self.ids[: len(kept), : columns + 1 - ids.shape[1]] = ids[:, :1]
        self.moving = _fitted(self.moving[index], slots, 1)
        for name, value in self.per_token.items():
            fresh = value.new_zeros(*value.shape[:-2], slots, 1)
            fresh[..., : len(kept), :] = value[..., index, :]
            self.per_token[name] = fresh

    def write(self, slots: list[int], new: _New, chosen: torch.Tensor, numbers: list[int]) -> None:
        """Rows of these numbers go into slots, with the tokens chosen for them."""
        index = torch.tensor(slots, device=self.ids.device)
        rows = torch.tensor(numbers, device=self.ids.device)
        self.cache.write(index, new.cache.cache, rows)
        begin = self.cache.columns - new.ids.shape[1]
        self.mask[index] = _fitted(new.mask[rows], len(slots), self.cache.columns)
        self.ids[index, :begin] = new.ids[rows, :1]
        self.ids[index, begin:] = torch.cat([new.ids[rows], chosen[rows, None]], dim=1)
        self.moving[index] = 1
        for name, value in self.per_token.items():
            value[..., index, :] = new.per_token[name][..., rows, :]

    def advance(self, chosen: torch.Tensor) -> None:
        """Every slot has its next token."""
        self.ids = torch.cat([self.ids, chosen[:, None]], dim=1)
        if "position_ids" in self.per_token:
            self.per_token["position_ids"] = self.per_token["position_ids"] + self.moving

    def stop(self, slot: int) -> None:
        """A slot's row has ended. Its positions stay, or they would grow beyond what the model knows."""
        self.moving[slot] = 0


def choose(
    processors: Sequence[LogitsProcessor], ids: torch.Tensor, logits: torch.Tensor, rows: Sequence[Running]
) -> torch.Tensor:
    """The next token of every row (rows,), given all before (rows, tokens) and logits (rows, vocabulary)."""
    scores = logits.to(ids.device, torch.float32, copy=True)
    for processor in processors:
        scores = processor(ids, scores)
    generation = rows[0].request.generation
    if generation.temperature > 0:
        scores = SeededSampling(generation, [row.random for row in rows])(ids, scores)
    chosen = scores.argmax(dim=-1)
    for row, token in zip(rows, chosen.tolist(), strict=True):
        row.tokens.append(token)
    return chosen


def for_exchanged_rows(processors: Sequence[LogitsProcessor]) -> list[LogitsProcessor]:
    """Processors of `unsupported`'s kinds that belong to no certain rows.

    From transformers 5.24 on a repetition penalty knows how much of each row is padding; rows have none left here.
    """
    return [
        RepetitionPenaltyLogitsProcessor(processor.penalty)
        if isinstance(processor, RepetitionPenaltyLogitsProcessor)
        else processor
        for processor in processors
    ]


def unsupported(prompts: Prompts) -> str | None:
    """Why rows can't be exchanged in what `generate` begins with, or None."""
    for processor in prompts.processors:
        if not isinstance(processor, RepetitionPenaltyLogitsProcessor) or isinstance(
            processor.prompt_ignore_length, int
        ):
            return f"its generation settings ask for a {type(processor).__name__}"
    for name, value in prompts.inputs.items():
        known = name in MEDIA_INPUTS or name in PER_TOKEN_INPUTS or name == "attention_mask"
        if isinstance(value, torch.Tensor) and not known:
            return f"it takes {name} with every token"
    if not prompts.inputs.get("use_cache"):
        return "it has no cache"
    return unsuitable(prompts.cache.cache if prompts.cache else None, 0)


def refusal(generator: Generator) -> str | None:
    """Why a model's rows can't be exchanged, as far as can be told without an image, or None."""
    if generator.model.config.is_encoder_decoder:
        return "it has an encoder and a decoder"
    if generator.own_generate:
        return "it has a generate of its own"
    token = torch.zeros(1, 1, dtype=torch.long)
    try:
        prompts = generator.prompts(generator.place({"input_ids": token, "attention_mask": token + 1}))
    except Exception as error:  # noqa: BLE001 - a model's own code may do anything; it is asked as before then
        return f"it can't be asked: {error}"
    return unsupported(prompts) or _tried(generator, prompts)


def _tried(generator: Generator, prompts: Prompts) -> str | None:
    """What the cache of a prompt of one token shows. A model may refuse a prompt without an image: nothing, then."""
    assert prompts.cache is not None
    try:
        with torch.inference_mode():
            cache = cache_of(read_prompts(generator.model, prompts), prompts.cache.name)
    except Exception:  # noqa: BLE001 - a model's own code may do anything
        return None
    return unsuitable(cache, prompts.input_ids.shape[1])


def read_prompts(model: VisionLanguageModel, prompts: Prompts) -> ModelOutput:
    """The model's output for prompts, whose cache it fills."""
    inputs = model.prepare_inputs_for_generation(prompts.input_ids, is_first_iteration=True, **prompts.inputs)
    return model(**inputs, return_dict=True)


def _choice(request: Request) -> tuple[object, ...]:
    generation = request.generation
    return (generation.temperature, generation.top_p, generation.top_k)


def _next(name: str, latest: torch.Tensor) -> torch.Tensor:
    """What the token after the latest has, as `generate` says it."""
    if name == "position_ids":
        return latest + 1
    return torch.zeros_like(latest) if name == "mm_token_type_ids" else latest


def _fitted(rows: torch.Tensor, slots: int, columns: int) -> torch.Tensor:
    """The last columns of (rows, …) in (slots, columns), zeros where there is nothing."""
    fitted = rows.new_zeros(slots, columns)
    both = min(columns, rows.shape[1])
    fitted[: len(rows), columns - both :] = rows[:, rows.shape[1] - both :]
    return fitted
