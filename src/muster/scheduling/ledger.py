"""What state each request is in, and what all of them come to."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from muster.scheduling.lane import ALONE, BLOCKED, DONE, WAITING


class Ledger:
    """The table of states, and counts and costs that follow it. `move` is the only way to change a state.

    Costs are whole units, so that sums are exact however often they are added to and taken from.
    """

    def __init__(self, units: array[int]) -> None:
        """`units`: the cost of each place. All of them wait."""
        self.units = units
        self.states = bytearray(len(units))
        self.unclaimed = len(units)
        """Requests that wait and can be claimed."""
        self.unclaimed_units = sum(units)
        self.blocked = 0
        self.done = 0
        self.remaining_units = self.unclaimed_units
        """Of all that is not done."""

    def move(self, places: Iterable[int], to: int) -> None:
        """These places are in another state from now on."""
        for place in places:
            units, before = self.units[place], self.states[place]
            self.states[place] = to
            if before in (WAITING, ALONE):
                self.unclaimed -= 1
                self.unclaimed_units -= units
            elif before == BLOCKED:
                self.blocked -= 1
            elif before == DONE:
                self.done -= 1
                self.remaining_units += units
            if to in (WAITING, ALONE):
                self.unclaimed += 1
                self.unclaimed_units += units
            elif to == BLOCKED:
                self.blocked += 1
            elif to == DONE:
                self.done += 1
                self.remaining_units -= units
