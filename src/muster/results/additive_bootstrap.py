"""The bootstrap of metrics whose aggregates are formulas over sums: the resamples of `bootstrap`, as matrices.

A resample is how often each cluster was drawn; times what each cluster adds, that is the sums. Sums of whole
numbers are exact, so that the result is the same on every machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from muster.metrics.terms import Terms, numbered
from muster.results.bootstrap import draws, effort, estimate_from
from muster.results.intervals import Estimate

if TYPE_CHECKING:
    from muster.metrics.terms import Array, Integers
    from muster.results.bootstrap import Effort, Replicates


def additive_estimates(
    values: Mapping[str, float], terms: Terms, clusters: Sequence[Hashable], seed: int = 0
) -> dict[str, Estimate] | None:
    """`values` with the standard errors and intervals of `bootstrap_estimates`; `clusters` are the rows'.

    None where a unit lies in several clusters: it isn't drawn as a whole then, and nothing adds up.
    """
    if len(set(clusters)) < 2:
        return {name: Estimate(value) for name, value in values.items()}
    chosen = effort(len(clusters))
    replicates = additive_replicates(terms, clusters, chosen, seed)
    if replicates is None:
        return None
    return {name: estimate_from(value, replicates[name], chosen) for name, value in values.items()}


def additive_replicates(
    terms: Terms, clusters: Sequence[Hashable], chosen: Effort, seed: int = 0
) -> Replicates | None:
    """Every aggregate on each resample, or None as in `additive_estimates`."""
    import numpy as np

    numbers: dict[Hashable, int] = {}
    of_row = numbered(clusters, numbers)
    of_unit = np.empty(len(terms.values), dtype=np.int64)
    of_unit[terms.units] = of_row
    if (of_unit[terms.units] != of_row).any():
        return None
    strata = _strata(terms, of_unit, len(numbers))
    parts = [
        terms.formula(_sums(strata, _counts(drawn, len(numbers))))
        for drawn in draws(len(numbers), chosen, seed)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Stratum(NamedTuple):
    """What each cluster that is in a stratum adds to its sums."""

    clusters: Integers
    totals: Array
    """(clusters, terms)"""


def _strata(terms: Terms, of_unit: Integers, clusters: int) -> list[_Stratum]:
    """Kept apart, for most clusters are in one stratum alone and there may be thousands of both."""
    import numpy as np

    pairs, pair_of_unit = np.unique(terms.strata * clusters + of_unit, return_inverse=True)
    totals: Array = np.stack(
        [np.bincount(pair_of_unit, weights=column, minlength=len(pairs)) for column in terms.values.T], axis=1
    )
    bounds = np.searchsorted(pairs, np.arange(terms.strata.max() + 2) * clusters)
    parts = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    return [_Stratum(pairs[part] % clusters, totals[part]) for part in parts]


def _counts(drawn: Integers, clusters: int) -> Array:
    """(resamples, clusters): how often each cluster was drawn."""
    import numpy as np

    resamples = len(drawn)
    cells = (drawn + np.arange(resamples)[:, np.newaxis] * clusters).ravel()
    return np.bincount(cells, minlength=resamples * clusters).reshape(resamples, clusters).astype(np.float64)


def _sums(strata: Sequence[_Stratum], counts: Array) -> Array:
    """(resamples, strata, terms)"""
    import numpy as np

    return np.stack([counts[:, stratum.clusters] @ stratum.totals for stratum in strata], axis=1)
