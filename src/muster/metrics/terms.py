"""Aggregates as formulas over sums: resampling then adds up numbers, instead of aggregating rows a thousand times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Integers = NDArray[np.int64]


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Terms:
    """Numbers that add up over the rows, and the aggregates as a formula over their sums.

    A *unit* is the rows that count together: the questions of one image, the rotations of one question, or each
    row by itself. A *stratum* is the units whose sums the formula needs apart, such as a category's.
    """

    units: Integers
    """(rows): the unit of each row, numbered from 0."""
    values: Array
    """(units, terms): what each unit adds to the sums of its stratum. Whole numbers keep the sums exact."""
    strata: Integers
    """(units): the stratum of each unit, numbered from 0."""
    formula: Callable[[Array], Mapping[str, Array]]
    """From the sums (resamples, strata, terms) to every aggregate that is no plain mean, (resamples) each.

    A stratum of which nothing was drawn has sums of 0, and must count as one that isn't there.
    """


def numbered(keys: Iterable[Key], numbers: dict[Key, int]) -> Integers:
    """Each key's number, from 0 in the order of first appearance; `numbers` learns the keys."""
    import numpy as np

    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def ratios(parts: Array, wholes: Array) -> Array:
    """`parts / wholes`, and 0.0 where there is nothing to divide by."""
    import numpy as np

    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes != 0)
