"""BLEU, ROUGE-L and METEOR through pycocoevalcap, the implementation that captioning papers use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    from muster.metrics.terms import Array

BLEU = ("bleu_1", "bleu_2", "bleu_3", "bleu_4")
_SMALL, _TINY = 1e-9, 1e-15
"""What pycocoevalcap adds to denominators and numerators."""


class Counts(TypedDict):
    """What BLEU adds up over the captions: grams, those that are right, and lengths."""

    testlen: int
    reflen: Sequence[int]
    guess: list[int]
    correct: list[int]


class _Rouge(Protocol):
    def calc_score(self, candidate: list[str], refs: list[str]) -> float: ...


def bleu_counts(caption: str, references: Sequence[str]) -> Counts:
    """The counts of one caption; texts are tokens with blanks between them."""
    from pycocoevalcap.bleu.bleu_scorer import cook_refs, cook_test

    counts: Counts = cook_test(caption, cook_refs(references))
    return counts


def corpus_bleu(counts: Sequence[Counts]) -> dict[str, float]:
    """BLEU-1 to BLEU-4, 0-1, with the reference length that is closest to the caption's."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=len(BLEU))
    scorer.ctest = list(counts)
    scorer.crefs = [None] * len(counts)
    values, _ = scorer.compute_score(option="closest", verbose=0)
    return dict(zip(BLEU, map(float, values), strict=True))


def bleu_terms(counts: Counts) -> list[float]:
    """A caption's counts as numbers that add up: both lengths, then guessed and right grams by length."""
    length = counts["testlen"]
    closest = min((abs(other - length), other) for other in counts["reflen"])[1]
    return [length, closest, *counts["guess"], *counts["correct"]]


def bleu_of_sums(sums: Array) -> Mapping[str, Array]:
    """BLEU of sums of such numbers (resamples, numbers)."""
    import numpy as np

    orders = len(BLEU)
    ratio = (sums[:, 0] + _TINY) / (sums[:, 1] + _SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1)), 1.0)
    product = np.ones(len(sums))
    result = {}
    for number, name in enumerate(BLEU):
        guess, correct = sums[:, 2 + number], sums[:, 2 + orders + number]
        product = product * (correct + _TINY) / (guess + _SMALL)
        result[name] = product ** (1 / (number + 1)) * penalty
    return result


def rouge_l(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """ROUGE-L of each caption, 0-1."""
    from pycocoevalcap.rouge.rouge import Rouge

    scorer: _Rouge = Rouge()
    return [
        float(scorer.calc_score([caption], list(others))) if others else 0.0
        for caption, others in zip(captions, references, strict=True)
    ]


def corpus_meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR 1.5 of the corpus, 0-1. Starts Java, which wants 2 GB."""
    from pycocoevalcap.meteor.meteor import Meteor

    numbered = [number for number, others in enumerate(references) if others]
    value, _ = Meteor().compute_score(
        {number: list(references[number]) for number in numbered},
        {number: [captions[number]] for number in numbered},
    )
    return float(value)
