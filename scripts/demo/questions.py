"""The questions that can be asked about one or two digits, for the benchmark and for training alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

READ = "Which digit is this?"
CHOICE = "Which digit is shown?"
LETTERS = "ABCD"
YES_NO_CATEGORIES = ("identity", "parity", "magnitude")


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer is known. For multiple choice the answer is the letter."""

    text: str
    answer: str
    category: str = "clean"
    choices: tuple[str, ...] = ()


def read(digit: int) -> Question:
    """The plain question: which digit is it?"""
    return Question(READ, str(digit))


def choice(digit: int, rng: random.Random) -> Question:
    """Four different digits, one of them right, in random order."""
    others = [other for other in range(10) if other != digit]
    options = [*rng.sample(others, len(LETTERS) - 1), digit]
    rng.shuffle(options)
    return Question(CHOICE, LETTERS[options.index(digit)], choices=tuple(map(str, options)))


def yes_no(digit: int, category: str, gold: bool, rng: random.Random) -> Question:
    """A question of the category whose answer is yes if `gold`, else no."""
    candidates = [text for text, truth in _statements(digit, category) if truth is gold]
    return Question(rng.choice(candidates), "yes" if gold else "no", category)


def larger(digits: Sequence[int]) -> Question:
    """Which of two different digits is larger?"""
    first, second = digits
    answer = "first" if first > second else "second"
    return Question("Which image shows the larger digit? Answer first or second.", answer, "larger")


def same(digits: Sequence[int]) -> Question:
    """Are two digits the same?"""
    first, second = digits
    answer = "yes" if first == second else "no"
    return Question("Do both images show the same digit? Answer yes or no.", answer, "same")


def _statements(digit: int, category: str) -> list[tuple[str, bool]]:
    """Every question of the category with its truth; for each digit some are true and some are false."""
    if category == "identity":
        return [(f"Is this the digit {other}?", other == digit) for other in range(10)]
    if category == "parity":
        return [("Is the digit even?", digit % 2 == 0), ("Is the digit odd?", digit % 2 == 1)]
    greater = [(f"Is the digit greater than {k}?", digit > k) for k in range(9)]
    less = [(f"Is the digit less than {k}?", digit < k) for k in range(1, 10)]
    return greater + less
