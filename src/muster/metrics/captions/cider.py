"""CIDEr (Vedantam, Zitnick & Parikh 2015) as pycocoevalcap computes it (CIDEr-D: clipped, with a length penalty).

Exact to the last digit: grams are added up in the order of their first occurrence, shorter ones first, with numpy's
logarithm and mean.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_LONGEST = 4
_SIGMA = 6.0
_SCALE = 10.0

Tokens = Sequence[str]
Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Vector:
    """A caption as weighted grams, apart by length."""

    weights: list[dict[Gram, float]]
    norms: list[float]
    length: int
    """Number of bigrams (sic)."""


def cider(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """Each image's CIDEr, 0 to 10; the corpus' is their mean. `references` are each image's, in the same order.

    Document frequencies are those of all the references, so that a score depends on the corpus; with one image all
    are 0. An image without references scores 0.
    """
    if not captions:
        return []
    counted = [[_grams(reference) for reference in of_image] for of_image in references]
    frequencies = Counter(
        gram for of_image in counted for gram in {gram for grams in of_image for gram in grams}
    )
    logarithms = {count: _logarithm(max(1.0, float(count))) for count in {0, *frequencies.values()}}
    weigh = _Weighing(_logarithm(float(len(captions))), frequencies, logarithms)
    return [
        _of_image(weigh(_grams(caption)), [weigh(grams) for grams in of_image])
        for caption, of_image in zip(captions, counted, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Weighing:
    documents: float
    """The logarithm of their number."""
    frequencies: Counter[Gram]
    logarithms: dict[int, float]

    def __call__(self, grams: Counter[Gram]) -> _Vector:
        weights: list[dict[Gram, float]] = [{} for _ in range(_LONGEST)]
        squares = [0.0] * _LONGEST
        for gram, count in grams.items():
            weight = float(count) * (self.documents - self.logarithms[self.frequencies[gram]])
            weights[len(gram) - 1][gram] = weight
            squares[len(gram) - 1] += (
                weight**2
            )  # the C library's power, whose last bit may differ from a product's
        bigrams = sum(count for gram, count in grams.items() if len(gram) == 2)
        return _Vector(weights, [math.sqrt(square) for square in squares], bigrams)


def _grams(tokens: Tokens) -> Counter[Gram]:
    return Counter(_in_order(tokens))


def _in_order(tokens: Tokens) -> Iterator[Gram]:
    for length in range(1, _LONGEST + 1):
        for start in range(len(tokens) - length + 1):
            yield tuple(tokens[start : start + length])


def _of_image(caption: _Vector, references: Sequence[_Vector]) -> float:
    if not references:
        return 0.0
    totals = [0.0] * _LONGEST
    for reference in references:
        for number, similarity in enumerate(_similarities(caption, reference)):
            totals[number] += similarity
    average = (((totals[0] + totals[1]) + totals[2]) + totals[3]) / _LONGEST
    return average / len(references) * _SCALE


def _similarities(caption: _Vector, reference: _Vector) -> Iterator[float]:
    difference = float(caption.length - reference.length)
    penalty = math.e ** (-(difference**2) / (2 * _SIGMA**2))
    for own, other, norm, other_norm in zip(
        caption.weights, reference.weights, caption.norms, reference.norms, strict=True
    ):
        similarity = 0.0
        for gram, weight in own.items():
            there = other.get(gram, 0.0)
            similarity += min(weight, there) * there
        if norm != 0 and other_norm != 0:
            similarity /= norm * other_norm
        yield similarity * penalty


def _logarithm(value: float) -> float:
    import numpy as np

    return float(np.log(value))
