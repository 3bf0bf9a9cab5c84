"""Our own readers of numbers: guards against guesses, and against right numbers that aren't seen in their wrapping."""

from __future__ import annotations

import pytest

from muster.core import Sample
from muster.metrics.numbers import stated_number
from muster.metrics.registry import build_metric


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", "4"),
        (" 4. ", "4"),
        ("Four", "4"),
        ("There are four chairs.", "4"),
        ("There are 4 chairs, one of them red.", "4"),
        ("**12**", "12"),
        ("\\boxed{12}", "12"),
        ("1,200", "1200"),
        ("4.0", "4"),
        ("I see 3 on the left and 2 on the right. The answer is 5.", "5"),
        ("3 + 2 = 5", "5"),
        ("4 or 5", None),
        ("4.5", None),
        ("2024-11-30", None),
        ("many", None),
        ("", None),
    ],
)
def test_the_number_that_is_meant(text: str, number: str | None) -> None:
    assert stated_number(text) == number


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("20", 1.0),
        ("20 meters", 1.0),
        ("about 19", 1.0),
        ("15", 0.5),
        ("two", 0.0),
        ("20 or 21", 0.0),
        ("", 0.0),
    ],
)
def test_a_distance_with_its_unit(text: str, score: float) -> None:
    metric = build_metric("vsibench")
    sample = Sample("1", "?", answers=("20",), metadata={"question_type": "room_size_estimation"})
    assert metric.score(sample, text).scores["score"] == pytest.approx(score, abs=0.11)


@pytest.mark.parametrize(
    ("task", "right", "text"),
    [
        ("Circled Letter", "k", "The circled letter is {k}."),
        ("Circled Letter", "k", "k"),
        ("Counting Grid - Word Grids", "3,4", "It has 3 rows and 4 columns."),
        ("Touching Circles", "No", "No, they don't touch."),
        ("Nested Squares", "4", "There are {4} squares."),
    ],
)
def test_shapes_in_whole_sentences(task: str, right: str, text: str) -> None:
    metric = build_metric("vlmsareblind")
    assert (
        metric.score(Sample("1", "?", answers=(right,), metadata={"task": task}), text).scores["accuracy"]
        == 1.0
    )
