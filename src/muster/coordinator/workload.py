"""The requests that a run still has to make, by index."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import msgspec

from muster.coordinator.rounds import RoundsInProgress
from muster.core import Completion, ConfigurationError, Generation, Request, RequestKey, Sample
from muster.core.phases import counted
from muster.metrics.protocol import has_reference
from muster.scheduling.cost import CHARACTERS_PER_TOKEN, TokenHistory, expected_tokens, predict
from muster.scheduling.queue import Items
from muster.tasks.plan import AnswerTo, PlannedTask

_KEPT_BYTES = 64 << 20
"""Of requests that are kept as they were rendered for the plan; later ones are rendered again when they are claimed."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Request).decode


class _Place(NamedTuple):
    task: int
    sample: int
    repeat: int


class _Places:
    """Places by index, as columns."""

    def __init__(self) -> None:
        self.tasks = array("I")
        self._samples = array("Q")
        self._repeats = array("I")

    def append(self, place: _Place) -> None:
        self.tasks.append(place.task)
        self._samples.append(place.sample)
        self._repeats.append(place.repeat)

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, index: int) -> _Place:
        return _Place(self.tasks[index], self._samples[index], self._repeats[index])


class _Rendered:
    """The requests that were rendered for the plan, encoded, as far as they take little room."""

    def __init__(self) -> None:
        self._encoded = bytearray()
        self._ends = array("Q", [0])

    def append(self, request: Request | None) -> None:
        """Keep the next one, or not: None, while there is room for others."""
        if len(self._encoded) >= _KEPT_BYTES:
            return
        if request is not None:
            with suppress(ValueError, OverflowError):  # half a character
                self._encoded += _encode(request)
        self._ends.append(len(self._encoded))

    def get(self, index: int) -> bytes:
        """Empty where it wasn't kept."""
        if index + 1 >= len(self._ends):
            return b""
        return bytes(self._encoded[self._ends[index] : self._ends[index + 1]])


class Workload:
    """What is left to ask. Holds places, and few prompts, so that a million requests stay small.

    Of answers it keeps those that a later turn of a dialogue has in its prompt.
    """

    def __init__(
        self,
        planned: Sequence[PlannedTask],
        done: Collection[RequestKey] = (),
        history: TokenHistory | None = None,
        answer_to: Callable[[RequestKey], str] | None = None,
        rounds_of: Callable[[RequestKey], Sequence[Completion]] = lambda _key: (),
    ) -> None:
        """`answer_to` gives the answers to those `done`; for tasks without dialogues it isn't called.

        `rounds_of` gives the rounds of a sample that were answered before.
        """
        self.planned = planned
        self.items = Items()
        self.most_images = self.most_videos = 0
        """In one prompt."""
        self._places = _Places()
        self._rendered = _Rendered()
        self._followers: dict[int, list[int]] = {}
        self._answers: dict[RequestKey, str] = {}
        self.rounds = RoundsInProgress()
        kinds: dict[tuple[Generation, bool], int] = {}
        batch_keys = [
            kinds.setdefault((task.generation, task.task.likelihoods), len(kinds)) for task in planned
        ]
        known = history or TokenHistory()
        indices: dict[RequestKey, int] = {}
        talks = [task.has_dialogues for task in planned]
        for request, place in counted(_requests(planned, done, known)):
            index = len(self._places)
            after = None
            if talks[place.task]:
                after = self._continued(place, indices, done, answer_to)
                indices[request.key] = index
            in_rounds = planned[place.task].task.rounds is not None
            if in_rounds:
                self.rounds.add(index, planned[place.task], request.key, rounds_of(request.key))
            shown, kept = request.media, not (talks[place.task] or in_rounds)
            if shown:
                videos = sum(media.kind == "video" for media in shown)
                self.most_videos = max(self.most_videos, videos)
                self.most_images = max(self.most_images, len(shown) - videos)
                kept = kept and not any(media.data for media in shown)
            cost = predict(request, known.expected(request.key))
            self.items.add(cost, batch_keys[place.task], shown[0].identity if shown else "", after)
            self._places.append(place)
            self._rendered.append(request if kept else None)

    def __len__(self) -> int:
        return len(self._places)

    def task(self, index: int) -> int:
        """Position of the request's task in `planned`."""
        return self._places.tasks[index]

    def key(self, index: int) -> RequestKey:
        """The name of the request that the journal has an answer to."""
        return RequestKey(*self._named(index))

    def _named(self, index: int) -> tuple[str, str, int]:
        task, sample, repeat = self._places[index]
        planned = self.planned[task]
        return planned.task.name, planned.compact.id_of(sample), repeat

    def asked_key(self, index: int) -> RequestKey:
        """The name that workers know it by: where a sample is asked in rounds, this round's."""
        return self.rounds.key(index) if index in self.rounds else self.key(index)

    def asks(self, index: int, key: RequestKey) -> bool:
        """Whether `key` is the request's `asked_key`. Raises `IndexError` where there is no such request."""
        return key == (self.rounds.key(index) if index in self.rounds else self._named(index))

    def request(self, index: int) -> Request:
        """The request with its prompt. Of a later turn only when the turns before it were answered."""
        if rendered := self._rendered.get(index):
            return _decode(rendered)
        if index in self.rounds and (later := self.rounds.request(index)) is not None:
            return later
        place = self._places[index]
        planned = self.planned[place.task]
        request = planned.request(self._sample(place), place.repeat, self._answers.__getitem__)
        return replace(request, key=self.asked_key(index)) if index in self.rounds else request

    def encoded(self, index: int) -> bytes:
        """The same in MessagePack. Raises `ValueError` for a prompt that it can't hold."""
        return self._rendered.get(index) or _encode(self.request(index))

    def answered(self, index: int, completion: Completion) -> list[int]:
        """Note an answer for the turns that continue it. What can't be asked any more, where there is none."""
        if not self._followers:
            return []
        followers = self._followers.get(index, [])
        if completion.text is not None:
            if followers:
                self._answers[completion.key] = self._said(self._places[index], completion.text)
            return []
        lost = list(followers)
        for each in lost:
            lost += self._followers.get(each, [])
        return lost

    def score(self, index: int, text: str) -> Mapping[str, float]:
        """The per-answer scores of a text, for progress while the run goes on."""
        place = self._places[index]
        task, sample = self.planned[place.task].task, self._sample(place)
        if not has_reference(task.metric, sample):
            return {}
        scored = task.scored_text(task.metric, task.thinking.split(text), text)
        return task.metric.score(sample, scored).scores

    def _said(self, place: _Place, text: str) -> str:
        """An answer as later turns see it: without what the model thought."""
        return self.planned[place.task].task.thinking.split(text).answer

    def _sample(self, place: _Place) -> Sample:
        return self.planned[place.task].samples[place.sample]

    def _continued(
        self,
        place: _Place,
        indices: Mapping[RequestKey, int],
        done: Collection[RequestKey],
        answer_to: Callable[[RequestKey], str] | None,
    ) -> int | None:
        """The index of the request whose answer this one continues. Where they are there, the answers are noted."""
        planned, sample = self.planned[place.task], self._sample(place)
        if sample.previous is None or not planned.continues(sample):
            return None
        for turn in sample.dialogue[:-1]:
            key = planned.key(turn, place.repeat)
            if key in done and answer_to is not None:
                self._answers[key] = self._said(place, answer_to(key))
            elif key not in indices:
                raise ConfigurationError(
                    f"task {key.task}: sample {sample.id!r} continues {turn.id!r}, which doesn't come before it"
                )
        before = indices.get(planned.key(sample.previous, place.repeat))
        if before is not None:
            self._followers.setdefault(before, []).append(len(self._places))
        return before


def _requests(
    planned: Sequence[PlannedTask], done: Collection[RequestKey], known: TokenHistory
) -> Iterator[tuple[Request, _Place]]:
    """Each request that isn't done, as far as it is known, with filler for answers that a dialogue continues.

    Prompts are rendered once per sample, but for later turns.
    """
    for position, task in enumerate(planned):
        filler = _expected(task.generation, known)
        for number, sample_id in enumerate(task.compact.ids()):
            keys = [RequestKey(task.task.name, sample_id, repeat) for repeat in range(task.repeats)]
            left = [key for key in keys if key not in done] if done else keys
            if not left:
                continue
            sample = task.samples[number]
            request: Request | None = None
            for key in left:
                if request is None or task.continues(sample):
                    request = task.request(sample, key.repeat, filler)
                else:
                    request = replace(request, key=key)
                yield request, _Place(position, number, key.repeat)


def _expected(generation: Generation, known: TokenHistory) -> AnswerTo:
    def filler(key: RequestKey) -> str:
        tokens = known.expected(key)
        return "x" * int(CHARACTERS_PER_TOKEN * (expected_tokens(generation) if tokens is None else tokens))

    return filler
