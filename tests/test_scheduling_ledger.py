"""The ledger's counts follow the states, whatever is moved where: a count that drifts ends a run early, or never."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from muster.scheduling.lane import ALONE, BLOCKED, DONE, HELD, WAITING
from muster.scheduling.ledger import Ledger

STATES = (WAITING, ALONE, HELD, BLOCKED, DONE)


@given(
    units=st.lists(st.integers(0, 2**40), min_size=1, max_size=8),
    moves=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(STATES)), max_size=40),
)
def test_counts_are_those_of_the_states(units: list[int], moves: list[tuple[int, int]]) -> None:
    ledger = Ledger(array("q", units))
    for place, to in moves:
        ledger.move([place % len(units)], to)
        pairs = list(zip(ledger.states, units, strict=True))
        claimable = [each for state, each in pairs if state in (WAITING, ALONE)]
        assert (ledger.unclaimed, ledger.unclaimed_units) == (len(claimable), sum(claimable))
        assert ledger.blocked == ledger.states.count(BLOCKED)
        assert ledger.done == ledger.states.count(DONE)
        assert ledger.remaining_units == sum(each for state, each in pairs if state != DONE)
