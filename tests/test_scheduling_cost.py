"""Guards against predictions that put the long requests last."""

from __future__ import annotations

import pytest

from muster.core import Completion, Failure, Generation, Media, Message, Part, Request, RequestKey, Usage
from muster.scheduling.cost import TokenHistory, media_tokens, predict

KEY = RequestKey("task", "1")


def request(text: str = "What is it?", *media: Media, limit: int = 128) -> Request:
    parts = (*(Part(media=item) for item in media), Part(text=text))
    return Request(KEY, (Message("user", parts),), Generation(max_new_tokens=limit))


def test_what_takes_longer_costs_more() -> None:
    image, video = Media("image", path="/a.png"), Media("video", path="/a.mp4")
    assert predict(request(limit=8)) < predict(request(limit=128)) < predict(request(limit=4096))
    assert predict(request()) < predict(request("What is it? " * 100))
    assert predict(request("?", image)) < predict(request("?", image, image)) < predict(request("?", video))
    assert predict(request("", limit=0)) > 0


def test_history_counts_more_than_the_limit() -> None:
    assert predict(request(limit=4096), history=3) < predict(request(limit=64))
    assert predict(request(limit=64), history=60) > predict(request(limit=64), history=6)


def test_the_size_of_an_image_is_taken_from_its_bytes_within_reason() -> None:
    sizes = [media_tokens(Media("image", data=b"x" * size)) for size in (100, 200_000, 50_000_000)]
    assert sizes == [64, 1000, 4096]


def answer(sample: str, tokens: int | None, *, task: str = "task", failed: bool = False) -> Completion:
    failure = Failure("sample", "E", "broken") if failed else None
    return Completion(
        RequestKey(task, sample), None if failed else "x", failure, Usage(completion_tokens=tokens)
    )


def test_history_knows_samples_and_falls_back_to_their_task() -> None:
    history = TokenHistory([answer("1", 10), answer("1", 20), answer("2", 60)])
    assert history.expected(RequestKey("task", "1", repeat=5)) == pytest.approx(15)
    assert history.expected(RequestKey("task", "new")) == pytest.approx(30)
    assert history.expected(RequestKey("other", "1")) is None


def test_failures_and_unknown_lengths_teach_nothing() -> None:
    history = TokenHistory([answer("1", 10, failed=True), answer("1", None)])
    assert history.expected(KEY) is None
