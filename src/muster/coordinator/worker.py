"""What the coordinator knows of one worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from muster.coordinator.progress import WorkerProgress


@dataclass(slots=True, kw_only=True)
class Worker(WorkerProgress):
    """What the coordinator knows of one worker, beside what is shown of it."""

    name: str
    rank: int | None
    """None for one that joined a running run."""
    pid: int
    seen: float
    held: dict[int, None] = field(default_factory=dict)
    """Request indices it works on, oldest first; also those that another worker has answered meanwhile."""
    batched: bool = False
    load_seconds: float = 0.0
    busy_seconds: float = 0.0
    stuck: bool = False
    """It was given up because it answered nothing, though it lives."""
    lost_with: tuple[int, ...] = ()
    """Requests whose deaths were counted when it was lost the last time."""

    @property
    def has_left(self) -> bool:
        """Whether it ended in good order, or was ended because nothing was left to do."""
        return self.state in ("left", "not needed")

    @property
    def alive(self) -> bool:
        """Whether work can be expected from it."""
        return self.state in ("loading", "working")
