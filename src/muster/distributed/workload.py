"""The requests that a run still has to make, by index; rendered when they are given out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from muster.core import Generation, Request, RequestKey
from muster.scheduling.cost import TokenHistory, predict
from muster.scheduling.queue import Item
from muster.tasks.plan import PlannedTask


class _Place(NamedTuple):
    task: int
    sample: int
    repeat: int


class Workload:
    """What is left to ask. Holds places, not prompts, so that a million requests stay small."""

    def __init__(
        self,
        planned: Sequence[PlannedTask],
        done: Collection[RequestKey] = (),
        history: TokenHistory | None = None,
    ) -> None:
        self.planned = planned
        self.items: list[Item] = []
        self.most_images = 0
        """In one prompt."""
        self._places: list[_Place] = []
        batch_keys: dict[Generation, int] = {}
        known = history or TokenHistory()
        for request, place in _requests(planned):
            if request.key in done:
                continue
            batch_key = batch_keys.setdefault(request.generation, len(batch_keys))
            self.most_images = max(self.most_images, sum(media.kind == "image" for media in request.media))
            media = request.media[0].identity if request.media else ""
            cost = predict(request, known.expected(request.key))
            self.items.append(Item(cost, batch_key, media))
            self._places.append(place)

    def __len__(self) -> int:
        return len(self._places)

    def task(self, index: int) -> int:
        """Position of the request's task in `planned`."""
        return self._places[index].task

    def key(self, index: int) -> RequestKey:
        """The request's name."""
        place = self._places[index]
        planned = self.planned[place.task]
        return RequestKey(planned.task.name, planned.samples[place.sample].id, place.repeat)

    def request(self, index: int) -> Request:
        """The request with its prompt."""
        place = self._places[index]
        planned = self.planned[place.task]
        messages = planned.task.prompt.render(planned.samples[place.sample])
        return Request(self.key(index), messages, planned.generation)

    def score(self, index: int, text: str) -> Mapping[str, float]:
        """The per-answer scores of a text, for progress while the run goes on."""
        place = self._places[index]
        planned = self.planned[place.task]
        return planned.task.metric.score(planned.samples[place.sample], text).scores


def _requests(planned: Sequence[PlannedTask]) -> Iterator[tuple[Request, _Place]]:
    for task_index, task in enumerate(planned):
        for number, request in enumerate(task.requests()):
            sample, repeat = divmod(number, task.repeats)
            yield request, _Place(task_index, sample, repeat)
