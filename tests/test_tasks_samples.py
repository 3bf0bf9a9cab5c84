"""Samples in little room.

They must come out as they were put in, whatever is in them: a metric or a template would score what it finds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import Clip, Extent, Media, Sample, VideoSettings
from muster.tasks.samples import ANSWERS, FAULT, IMAGES, LATER_TURN, VIDEOS, SampleFields, Samples

TEXT = st.text(max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2) | st.tuples(inner, inner)
    ),
    max_leaves=5,
)
MEDIA = st.builds(
    Media,
    st.sampled_from(["image", "video"]),
    path=st.none() | TEXT,
    data=st.none() | st.binary(max_size=3),
    extent=st.none() | st.builds(Extent, TEXT, st.integers(0, 9), st.integers(0, 9)),
    within=st.none() | st.tuples(TEXT),
    clip=st.none() | st.builds(Clip, st.floats(0, 1), st.none()),
    subtitles_from=st.floats(0, 9),
    shown=st.none() | st.just(VideoSettings(frames=3)),
)
SAMPLES = st.builds(
    Sample,
    id=TEXT,
    question=st.text(st.characters(), max_size=9),
    images=st.lists(MEDIA, max_size=2).map(tuple),
    videos=st.lists(MEDIA, max_size=1).map(tuple),
    choices=st.lists(TEXT, max_size=3).map(tuple),
    answers=st.lists(TEXT, max_size=2).map(tuple),
    metadata=st.dictionaries(TEXT, VALUES, max_size=3),
    fault=st.just("") | TEXT,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(SAMPLES, max_size=4))
def test_what_comes_out_is_what_was_put_in(put: list[Sample]) -> None:
    samples = Samples(put)
    out = list(samples)
    assert out == put
    assert samples == put
    assert repr(out) == repr(put)  # types, too: 1 is equal to True
    assert [media.within for each in out for media in each.images] == [
        media.within for each in put for media in each.images
    ]
    assert [samples[number] for number in range(len(put))] == put
    assert list(samples.ids()) == [each.id for each in put]
    assert list(samples[1:3]) == put[1:3]
    assert list(samples[::-1]) == put[::-1]
    assert list(samples.having(FAULT | IMAGES)) == [each for each in put if each.fault or each.images]


def test_turns_of_a_dialogue_keep_what_they_continue() -> None:
    first = Sample("d-1", "hello?")
    second = Sample("d-2", "and?", previous=first, answers=("yes",))
    third = replace(second, id="d-3", previous=second)
    samples = Samples([first, second, third])
    assert [turn.id for turn in samples[2].dialogue] == ["d-1", "d-2", "d-3"]
    assert list(samples.traits()) == [0, LATER_TURN | ANSWERS, LATER_TURN | ANSWERS]
    assert [each.id for each in samples[2:]] == ["d-3"]
    assert samples.any_have(LATER_TURN)
    assert not samples.any_have(VIDEOS)


@dataclass(frozen=True, slots=True)
class Own(Sample):
    """Somebody's own kind of sample."""

    extra: int = 0


@pytest.mark.parametrize(
    "odd",
    [
        Own("a", "b", extra=3),
        Sample("a", "b", metadata={"path": Path("x")}),  # type: ignore[dict-item]
        Sample("a", "b", metadata=OrderedDict(x=1)),
        Sample("a", "b", metadata={"huge": 10**30}),
        Sample("a", "b\ud800"),
        Sample("a", "b", choices=["x", "y"]),  # type: ignore[arg-type]
        Sample(3, "b"),  # type: ignore[arg-type]
        Sample("a", "b", images=(Media("image", data=b"png"),)),
    ],
    ids=range(8),
)
def test_what_isnt_plain_is_kept_as_it_is(odd: Any) -> None:
    plain = Sample("plain", "question")
    samples = Samples([plain, odd, plain])
    assert samples[1] is odd
    assert samples[1:][0] is odd
    assert list(samples) == [plain, odd, plain]
    assert list(samples.ids()) == ["plain", odd.id, "plain"]


def test_fields_are_samples() -> None:
    samples = Samples()
    samples.append(SampleFields("a", "b", metadata={"n": 10**30}))
    samples.extend([SampleFields("c", "d", choices=("x",), answers=("A",), metadata={"k": 1})] * 2)
    samples.extend([SampleFields("e", "f", metadata={"n": 10**30}), SampleFields("g", "h", fault="no")])
    assert list(samples) == [
        Sample("a", "b", metadata={"n": 10**30}),
        *[Sample("c", "d", choices=("x",), answers=("A",), metadata={"k": 1})] * 2,
        Sample("e", "f", metadata={"n": 10**30}),
        Sample("g", "h", fault="no"),
    ]
    assert list(samples.traits()) == [0, ANSWERS, ANSWERS, 0, FAULT]
