"""The `digits` benchmark: its rows, made from the held-out scans alone and the same every time.

Every random choice comes from Python's `random`, seeded with a string that names the row, so a row
doesn't change when others are added.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from scripts.demo import questions
from scripts.demo.corruption import CORRUPTIONS
from scripts.demo.questions import YES_NO_CATEGORIES, Question
from scripts.demo.scans import Scans, enlarge

YES_NO_IMAGES = 250
SAME_PAIRS = 50
DIFFERENT_PAIRS = 50
HARD_IMAGES = 450


@dataclass(frozen=True, slots=True)
class Row:
    """One question of the benchmark with its images."""

    id: str
    subset: str
    question: Question
    images: tuple[Image.Image, ...]
    image: str
    """Names what is shown; rows of a yes/no pair share it."""
    scans: tuple[int, ...]
    digits: tuple[int, ...]


def benchmark(scans: Scans) -> Iterator[Row]:
    """All rows, subset by subset; within a subset in an order whose beginnings are a fair mix (`--limit`)."""
    yield from _read(scans)
    yield from _choice(scans)
    yield from _yes_no(scans)
    yield from _compare(scans)
    yield from _hard(scans)


def _read(scans: Scans) -> Iterator[Row]:
    for scan in scans.held_out:
        yield _row(scans, f"read-{scan:04}", "read", questions.read(scans.digits[scan]), scan)


def _choice(scans: Scans) -> Iterator[Row]:
    for scan in scans.held_out:
        name = f"choice-{scan:04}"
        question = questions.choice(scans.digits[scan], random.Random(name))
        yield _row(scans, name, "choice", question, scan)


def _yes_no(scans: Scans) -> Iterator[Row]:
    """Two questions of one category about each image, one true and one false, in random order."""
    for number, scan in enumerate(scans.held_out[:YES_NO_IMAGES]):
        rng = random.Random(f"yesno-{scan:04}")
        category = YES_NO_CATEGORIES[number % len(YES_NO_CATEGORIES)]
        for suffix, gold in zip("ab", rng.sample((True, False), 2), strict=True):
            question = questions.yes_no(scans.digits[scan], category, gold, rng)
            yield _row(scans, f"yesno-{scan:04}-{suffix}", "yesno", question, scan)


def _compare(scans: Scans) -> Iterator[Row]:
    """Pairs that use (nearly) every held-out scan once: which digit is larger, or are they the same."""
    rng = random.Random("compare")
    asked: list[tuple[tuple[int, int], Question]] = []
    for number, pair in enumerate(_pairs(scans, rng)):
        digits = [scans.digits[scan] for scan in pair]
        ask_same = number < SAME_PAIRS + DIFFERENT_PAIRS
        asked.append((pair, questions.same(digits) if ask_same else questions.larger(digits)))
    rng.shuffle(asked)
    for pair, question in asked:
        first, second = pair
        yield _row(scans, f"compare-{first:04}-{second:04}", "compare", question, first, second)


def _pairs(scans: Scans, rng: random.Random) -> list[tuple[int, int]]:
    """`SAME_PAIRS` pairs of equal digits, then pairs of different ones; no scan twice."""
    left = rng.sample(scans.held_out, len(scans.held_out))
    pairs: list[tuple[int, int]] = []
    while left:
        first = left.pop()
        want_same = len(pairs) < SAME_PAIRS
        partners = (s for s in left if (scans.digits[s] == scans.digits[first]) is want_same)
        second = next(partners, None)
        if second is not None:  # the last scans may all show one digit
            left.remove(second)
            pairs.append((first, second))
    return pairs


def _hard(scans: Scans) -> Iterator[Row]:
    """The reading question on corrupted scans, one kind of corruption each."""
    for number, scan in enumerate(scans.held_out[:HARD_IMAGES]):
        category = tuple(CORRUPTIONS)[number % len(CORRUPTIONS)]
        name = f"{category}-{scan:04}"
        corrupted = CORRUPTIONS[category](scans.levels[scan], random.Random(name))
        digit = scans.digits[scan]
        question = Question(questions.READ, str(digit), category)
        yield Row(f"hard-{name}", "hard", question, (enlarge(corrupted),), name, (scan,), (digit,))


def _row(scans: Scans, name: str, subset: str, question: Question, *shown: int) -> Row:
    images = tuple(enlarge(scans.levels[scan]) for scan in shown)
    label = "+".join(f"scan-{scan:04}" for scan in shown)
    return Row(name, subset, question, images, label, shown, tuple(scans.digits[scan] for scan in shown))
