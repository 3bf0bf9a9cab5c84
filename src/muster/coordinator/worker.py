"""What the coordinator knows of one worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

WorkerState = Literal["starting", "loading", "working", "lost", "left", "failed"]


@dataclass(slots=True)
class Worker:
    """What the coordinator knows of one worker."""

    name: str
    rank: int | None
    """None for one that joined a running run."""
    host: str = ""
    pid: int = 0
    state: WorkerState = "starting"
    seen: float = 0.0
    progressed: float = 0.0
    """When it last answered or started something."""
    ready_at: float | None = None
    slots: int = 1
    batched: bool = False
    load_seconds: float = 0.0
    busy_seconds: float = 0.0
    answered: int = 0
    stuck: bool = False
    """It was given up because it answered nothing, though it lives."""
    holding: dict[int, None] = field(default_factory=dict)
    """Request indices it works on, oldest first."""
    lost_with: tuple[int, ...] = ()
    """Requests whose deaths were counted when it was lost the last time."""

    @property
    def joined(self) -> bool:
        """Whether it came to a running run from another command."""
        return self.rank is None

    @property
    def alive(self) -> bool:
        """Whether work can be expected from it."""
        return self.state in ("starting", "loading", "working")
