"""Muster's own reader of multiple choice: reads the usual wrappings, and abstains instead of guessing."""

from __future__ import annotations

import string

import pytest

from muster.core import Sample
from muster.metrics.letters.muster import read_choice
from muster.metrics.registry import build_metric

ANIMALS = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (b) ", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("$\\boxed{\\text{B}}$", "B"),
        ("<answer>B</answer>", "B"),
        ('{"answer": "B"}', "B"),
        ("（Ｂ）", "B"),
        ("B。", "B"),
        ("Answer: b", "B"),
        ("The answer is b", "B"),
        ("The correct option is (B).", "B"),
        ("答案是B", "B"),
        ("정답은 B입니다", "B"),
        ("answer=B", "B"),
        ("I choose B", "B"),
        ("B is correct", "B"),
        ("B. dog", "B"),
        ("B) dog", "B"),
        ("B - dog", "B"),
        ("B dog", "B"),
        ("B.\nExplanation: A shows something else.", "B"),
        ("dog", "B"),
        ("It is a dog.", "B"),
        ("A dog", "B"),
        ("<think>Could be A.</think>B", "B"),
        ("A quick look first. The answer is A? No. Final answer: B", "B"),
        ("The answer is not A. The answer is B", "B"),
        ("The answer is B. However, one might consider A.", "B"),
        ("A cat", "A"),  # through the option's text, not the article
    ],
)
def test_reads(text: str, letter: str) -> None:
    assert read_choice(text, ANIMALS) == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "Cannot be determined",
        "A large animal",
        "I am not sure",
        "I",
        "E",
        "A or B",
        "A, B, C, D",
        "(A)(B)",
        "The answer is A or B",
        "A: no\nB: yes",
        "It is not B",
        "not a dog",
        "dog and cat",
        "A. dog",
        "D'accord",
        "B-52 bomber",
        "the answer is a mystery",
        "Vitamin C is healthy and the sun is shining",
    ],
)
def test_abstains(text: str) -> None:
    assert read_choice(text, ANIMALS) is None


def test_an_option_text_that_looks_like_a_statement_is_the_option() -> None:
    assert read_choice("B is 8", {"A": "3", "B": "1", "C": "B is 8", "D": "9"}) == "C"


def test_the_longest_option_that_occurs_counts() -> None:
    assert (
        read_choice("it is red and blue", {"A": "red", "B": "dark red", "C": "red and blue", "D": "blue"})
        == "C"
    )


def test_equal_option_texts_are_ambiguous() -> None:
    assert read_choice("red", {"A": "red", "B": "red"}) is None


def test_up_to_26_choices_and_none_at_all() -> None:
    many = {letter: f"option number {letter}" for letter in string.ascii_uppercase}
    assert read_choice("The answer is Z", many) == "Z"
    assert read_choice("(f)", {}) == "F"
    assert read_choice("no idea", {}) is None


def test_runs_in_reasonable_time_on_degenerate_answers() -> None:
    # Guards against regular expressions that backtrack: these took minutes with a careless pattern.
    for text in (
        "answer is" + " " * 200_000,
        "answer " * 50_000,
        "(" * 100_000,
        "a" * 200_000,
        "<think>" * 30_000,
    ):
        assert read_choice(text, ANIMALS) is None


def test_answers_may_be_given_as_letter_or_text() -> None:
    metric = build_metric("multiple_choice")
    for answer in ("B", "b", "dog"):
        sample = Sample("1", "", choices=tuple(ANIMALS.values()), answers=(answer,))
        assert metric.score(sample, "Answer: B").scores == {"accuracy": 1.0}
        assert metric.score(sample, "Cannot tell").scores == {"accuracy": 0.0}
