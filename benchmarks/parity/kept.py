"""What is known of one task of a toolkit, in a file of its own: a comparison that was interrupted goes on behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Kept:
    """One task, group or dataset."""

    name: str
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The recorded answers, by task and document."""
    theirs: Mapping[str, Scores] = field(default_factory=dict)
    """The toolkit's own scores, by task; a group has its tasks'."""
    mine: Mapping[str, Mapping[str, Scores]] = field(default_factory=dict)
    """Muster's, by way of running it and task."""
    why: str = ""
    """Why it can't be compared."""

    def save(self, folder: Path) -> None:
        """Whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.json"
        beside = file.with_suffix(".part")
        beside.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        beside.replace(file)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self | None:
        """What is known of `name`; None where it has not been compared."""
        file = folder / f"{name}.json"
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


@dataclass(frozen=True)
class Compared:
    """A row of the table."""

    name: str
    theirs: Scores
    mine: Mapping[str, Scores] = field(default_factory=dict)
    """By way of running Muster."""
    why: str = ""

    @property
    def differs(self) -> list[str]:
        """The ways in which a score differs: another name, or another number in the last bit."""
        return [way for way, scores in self.mine.items() if dict(scores) != dict(self.theirs)]


def rows(kept: Kept) -> list[Compared]:
    """The tasks of it that have scores."""
    if kept.why:
        return [Compared(kept.name, {}, why=kept.why)]
    found = []
    for task, theirs in kept.theirs.items():
        mine = {way: scores.get(task, {}) for way, scores in kept.mine.items()}
        silent = not theirs and not any(mine.values())
        found.append(Compared(task, theirs, mine, "no number on either side" if silent else ""))
    return found
