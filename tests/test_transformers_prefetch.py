"""Preparing ahead: that it happens while the device works, and never more than one batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from muster.core import Request
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel, prefetch
from muster.models.transformers.prefetch import OneAhead
from tiny_models import model_folder
from tiny_requests import ListStream, ask, noise

PATIENCE = 120.0
"""Seconds after which a test that waits for a thread has failed."""


class Steps:
    """A producer that counts, and lets the test see and wait for its calls."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.made = 0
        self.started = [threading.Event() for _ in range(count + 1)]

    def claim(self) -> int | None:
        self.started[self.made].set()
        if self.made == self.count:
            return None
        self.made += 1
        return self.made - 1

    def wait_for(self, call: int) -> None:
        assert self.started[call].wait(PATIENCE), f"call {call} never came"


def test_items_come_once_and_in_order() -> None:
    with OneAhead(Steps(5).claim, int) as ahead:
        assert list(ahead) == [0, 1, 2, 3, 4]


def test_the_next_item_is_made_while_one_is_in_use_and_no_further() -> None:
    steps = Steps(4)
    with OneAhead(steps.claim, int) as ahead:
        items = iter(ahead)
        steps.wait_for(0)
        assert not steps.started[1].is_set(), "nothing was consumed yet: one ahead is item 0"
        assert next(items) == 0
        steps.wait_for(1)  # made while item 0 is in the consumer's hands
        assert not steps.started[2].wait(0.2), "item 2 is two ahead"
        assert next(items) == 1
        steps.wait_for(2)
        assert not steps.started[3].wait(0.2)


def test_closing_ends_the_thread() -> None:
    steps = Steps(100)
    with OneAhead(steps.claim, int, "watched") as ahead:
        next(iter(ahead))
    assert all(thread.name != "watched" for thread in threading.enumerate())
    assert steps.made <= 2


def test_closing_waits_for_what_is_made_and_not_for_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work may be withheld until others have answered; a model that has failed must not wait for it."""
    monkeypatch.setattr(prefetch, "JOIN_SECONDS", PATIENCE)
    claiming, let_go = threading.Event(), threading.Event()
    made: list[int] = []

    def claim() -> int | None:
        if made:
            claiming.set()
            assert let_go.wait(2 * PATIENCE)
        return len(made)

    def make(claimed: int) -> int:
        made.append(claimed)
        return claimed

    with pytest.raises(OSError, match="broken"), OneAhead(claim, make, "kept") as ahead:
        next(iter(ahead))
        assert claiming.wait(PATIENCE)
        raise OSError("broken")
    kept = [thread for thread in threading.enumerate() if thread.name == "kept"]
    assert kept, "closing waited for the scheduler"
    let_go.set()
    kept[0].join(PATIENCE)
    assert len(made) == 1, "nobody wants what was claimed afterwards"


def test_an_error_arrives_after_what_came_before_it() -> None:
    made = iter([1, 2])

    def claim() -> int:
        try:
            return next(made)
        except StopIteration:
            raise OSError("broken pipe") from None

    with OneAhead(claim, int) as ahead:
        items = iter(ahead)
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="broken pipe"):
            next(items)


class WatchedStream(ListStream):
    """Tells when it is asked, and by which thread."""

    def __init__(self, requests: Sequence[Request]) -> None:
        super().__init__(requests)
        self.asked = [threading.Event() for _ in range(10)]
        self.threads: set[str] = set()

    def take(self, limit: int) -> list[Request]:
        self.threads.add(threading.current_thread().name)
        self.asked[len(self.limits)].set()
        return super().take(limit)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TransformersModel:
    folder = str(model_folder("llava", tmp_path_factory))
    return TransformersModel(ModelSettings(folder, {"batching": "static"}, batch_size=2))


def questions(count: int) -> list[Request]:
    return [ask(f"{index}", "why?", [noise(index)]) for index in range(count)]


def test_the_backend_prepares_the_next_batch_while_the_device_works(
    model: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were preparation to wait for the device, the device would wait here for ever."""
    stream = WatchedStream(questions(6))
    on_device = model._generator.answer
    batches = 0

    def answer(batch: object) -> object:
        nonlocal batches
        batches += 1
        assert stream.asked[batches].wait(PATIENCE), "the next batch was not claimed while this one runs"
        assert not stream.asked[batches + 1].wait(0.1), "a batch more than one ahead was claimed"
        return on_device(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(model._generator, "answer", answer)
    assert len(list(model.generate(stream))) == 6
    assert batches == 3
    assert threading.current_thread().name not in stream.threads


def test_closing_the_generator_stops_claiming(model: TransformersModel) -> None:
    stream = WatchedStream(questions(20))
    completions = model.generate(stream)
    next(completions)
    completions.close()  # type: ignore[attr-defined]
    claimed = len(stream.limits)
    assert claimed <= 2
    assert all(thread.name != "muster-prepare" for thread in threading.enumerate())
    assert len(stream.limits) == claimed


def test_an_empty_stream_is_answered_with_nothing(model: TransformersModel) -> None:
    assert list(model.generate(ListStream([]))) == []
