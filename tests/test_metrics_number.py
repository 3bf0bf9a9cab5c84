"""Guards against numbers that are right and count as wrong for their form, and against numbers that are guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError, Sample
from muster.metrics.number_reading import read_number
from muster.metrics.protocol import has_reference
from muster.metrics.registry import build_metric
from muster.metrics.spelled_numbers import spelled_numbers


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(
            (text, 5)
            for text in ("5", "5.0", "five", "5.", "+5", " 5\n", "**5**", "5 apples", "5kg", "Five.")
        ),
        *(
            (text, 5)
            for text in ("$5", "5%", "5 °C", "There are 5 dogs.", "(5)", '"5"', "5 m²", "５", "5, I think")
        ),
        *(
            (text, 1200)
            for text in (
                "1200",
                "1,200",
                "1,200.00",
                "$1,200",
                "1\u202f200",
                "The answer is 1 200",
                "1'200",
                "1{,}200",
            )
        ),
        *(
            (text, 1200)
            for text in ("1.2e3", "1.2 × 10^3", "1.2 \\times 10^{3}", "1.2 thousand", "twelve hundred")
        ),
        *((text, -3) for text in ("-3", "−3", "minus three", "-$3", "-3 dollars")),
        *((text, Fraction(1, 2)) for text in ("0.5", ".5", "1/2", "50e-2", "\\frac{1}{2}")),
        ("three million", 3_000_000),
        ("minus the five", 5),
        ("The answer is 5, since 2 + 3 = 5 and 10 / 2 = 5.", 5),
        ("The answer is 4. Wait, that's wrong. The answer is about **7 cm**.", 7),
        ("Answer: twenty-one", 21),
        ("In total: 8 (3 red and 5 blue)", 8),
        ("The total is 8 (3 red and 5 blue)", 8),
        ("3 + 5 = 8", 8),
        ("so $$\\boxed{1{,}234}$$, because 2 = 2", 1234),
        ("It is 5, really 5.0", 5),
        ("One of them says 7.", 7),
        ("The one on the left", None),
        ("no one", None),
        ("3 red and 5 blue", None),
        ("5-7", None),
        ("12:30", None),
        ("1,5", None),
        ("1.2.3", None),
        ("2026-11-30", None),
        ("B12", None),
        ("H2O", None),
        ("two three", None),
        ("Let's count: 1, 2, 3, 4.", None),
        ("The total is 5 or 6", None),
        ("5/6/2020", None),
        ("x^2", None),
        ("1/0", None),
        ("9" * 51, None),
        ("1e999", None),
        ("", None),
        ("none", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_reads(text: str, number: Fraction | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("three hundred and five", [305]),
        ("two million, one hundred thousand", [2_000_000, 100_000]),
        ("two million one hundred thousand and forty-two", [2_100_042]),
        ("a hundred", [100]),
        ("five and six", [5, 6]),
        ("twenty twenty-one", [20, 21]),
        ("nineteen ninety", [19, 90]),
        ("negative ninety nine", [-99]),
        ("zero five", [0, 5]),
        ("someone attends", []),
    ],
)
def test_words(text: str, numbers: list[int]) -> None:
    assert list(spelled_numbers(text)) == numbers


@given(st.decimals(-(10**12), 10**12, places=3))
def test_every_usual_way_to_write_a_number_reads_back(number: object) -> None:
    for text in (f"{number}", f"{number:,}", f"It is {number} mm.", f"x = {number}"):
        assert read_number(text) == Fraction(str(number)), text


@pytest.mark.parametrize(
    ("tolerance", "right", "wrong"),
    [
        ({}, "0.7", "0.70001"),
        ({"absolute": 0.1}, "0.8", "0.81"),
        ({"absolute": 0.1}, "0.6", "0.59"),
        ({"relative": 0.05}, "0.735", "0.7351"),
        ({"absolute": 0.2, "relative": 0.05}, "0.9", "0.91"),
    ],
)
def test_tolerances_are_exact_and_the_larger_one_counts(
    tolerance: dict[str, float], right: str, wrong: str
) -> None:
    metric = build_metric("number", dict(tolerance))
    sample = Sample("1", "?", answers=("0.7 m",))
    assert [metric.score(sample, text).scores["accuracy"] for text in (right, wrong)] == [1.0, 0.0]


def test_of_several_numbers_the_last_one_where_asked() -> None:
    sample = Sample("1", "?", answers=("7", "seven point five", "8"))
    text = "First I see 3, then 4, which makes 7."
    strict, last = build_metric("number"), build_metric("number", {"several": "last"})
    assert (strict.score(sample, text).scores["accuracy"], strict.score(sample, text).extracted) == (
        0.0,
        None,
    )
    assert (last.score(sample, text).scores["accuracy"], last.score(sample, text).extracted) == (1.0, "7")
    assert last.score(sample, "Eight.").extracted == "8"


def test_a_reference_that_is_no_number_leaves_the_sample_unscored() -> None:
    metric = build_metric("number")
    assert not has_reference(metric, Sample("1", "?", answers=("many",)))
    assert has_reference(metric, Sample("1", "?", answers=("many", "5")))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ConfigurationError, match="at least 0"):
        build_metric("number", {"absolute": value})
