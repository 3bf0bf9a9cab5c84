"""A difference divided among what was changed (Shapley 1953): pure.

Each factor gets the mean of what swapping it changes, over all orders in which the factors can be swapped. The shares
add up to the whole difference whatever the factors do to each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple


class Weighted(NamedTuple):
    """A set of swapped factors, and what its result counts in a share."""

    swapped: frozenset[str]
    weight: float


def subsets(others: Sequence[str]) -> Iterator[Weighted]:
    """Every set of the other factors that may be swapped before one is, with its weight; the weights add up to 1."""
    count = len(others) + 1
    for size in range(count):
        weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
        for subset in combinations(others, size):
            yield Weighted(frozenset(subset), weight)


def share(factor: str, factors: Sequence[str]) -> list[Weighted]:
    """What `factor` accounts for, as a sum over results: each with factors swapped, and its weight."""
    terms = []
    for before, weight in subsets([each for each in factors if each != factor]):
        terms += [Weighted(before | {factor}, weight), Weighted(before, -weight)]
    return terms
