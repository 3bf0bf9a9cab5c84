"""How many requests the engine is given. Pure: what the engine says of itself is passed in."""

from __future__ import annotations


class Room:
    """As many as it works on at the same time and a few more, so that one is ready whenever one ends.

    An engine with little memory for keys and values works on fewer than its settings allow; what it lets wait,
    another replica could have answered. So the room shrinks to what it is seen to use, and grows again when
    nothing waits.
    """

    def __init__(self, slots: int, most: int | None = None) -> None:
        """`slots`: the engine's own limit (max_num_seqs); `most`: the user's, which is kept to the letter."""
        self.ahead = max(2, slots // 8)
        """Requests beyond those that are worked on: being decoded and tokenized, or next in line."""
        self.most = most or slots + self.ahead
        self.places = self.most
        """How many there may be at the moment."""

    def seen(self, running: int, waiting: int) -> bool:
        """Take note of the engine's state after a step; returns whether there are more places than before."""
        before = self.places
        if waiting > self.ahead:
            self.places = min(self.most, running + self.ahead)
        elif waiting == 0:
            self.places = min(self.most, max(before, running + 2 * self.ahead))
        return self.places > before
