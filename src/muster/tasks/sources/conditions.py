"""`source.where`: which rows are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from muster.core import JSON
from muster.core.numbers import as_boolean, whole
from muster.core.text import did_you_mean

_VALUES = 1000
"""Different values of a column that are remembered, to be named where none is wanted."""
_SHOWN = 12


@dataclass(slots=True)
class Condition:
    """A column or metadata key that must have one of some values. Remembers which values there are."""

    key: str
    wanted: JSON
    """A value or a list of them."""
    seen: dict[str, int] = field(default_factory=dict, init=False)
    """How many rows have each value, in the order of their first appearance."""
    _texts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        wanted = self.wanted if isinstance(self.wanted, list) else [self.wanted]
        self._texts = tuple(map(_as_text, wanted))

    def __str__(self) -> str:
        return f"{self.key}={'|'.join(self._texts)}"

    def fits(self, value: object) -> bool:
        """Whether a row with this value is kept."""
        text = _as_text(value)
        if len(self.seen) < _VALUES or text in self.seen:
            self.seen[text] = self.seen.get(text, 0) + 1
        return text in self._texts

    def problem(self) -> str | None:
        """What to say where no row has any of the values; None where some have."""
        if not self.seen.keys().isdisjoint(self._texts):
            return None
        asked = ", ".join(map(repr, self._texts))
        hint = did_you_mean(self._texts[0], self.seen) if len(self._texts) == 1 else ""
        named = [f"{value!r} ({count})" for value, count in list(self.seen.items())[:_SHOWN]]
        more = ", …" if len(self.seen) > _SHOWN else ""
        return f"source.where.{self.key}: no row has {asked}{hint} (there are: {', '.join(named)}{more})"


def why_nothing(conditions: Sequence[Condition]) -> str | None:
    """Which of the conditions no row meets, and what there is instead; None where there were no rows at all."""
    kept = ""  # each sees only the rows that those before it keep
    for condition in conditions:
        if condition.seen and (problem := condition.problem()):
            return f"{problem}{kept}"
        kept = f", of the rows with {condition}" if not kept else f"{kept} and {condition}"
    return None


def _as_text(value: object) -> str:
    """A value as text, so that `where: {level: 2}` finds the 2 of a CSV file too, and the 2.0 of a data frame."""
    if isinstance(value, str):
        return as_boolean(value)
    return json.dumps(whole(value), default=str)
