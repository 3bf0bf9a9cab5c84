"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from muster.compare.comparison import Comparison, RunInTask, run_in_task
from muster.compare.pairing import AlignedTask
from muster.report.comparison_text import letter
from muster.report.page.pictures import Pictures
from muster.report.page.timeline import Timeline
from muster.result_files.loaded import LoadedRun


@dataclass(frozen=True, slots=True)
class Report:
    """Runs, and what was found out about them."""

    runs: Sequence[LoadedRun]
    aligned: Sequence[AlignedTask]
    pictures: Pictures
    comparison: Comparison | None = None
    """With two runs or more."""
    timelines: Sequence[Timeline | None] = ()
    """Of each run."""
    found: Sequence[Mapping[str, RunInTask]] = field(init=False)
    """Of each run, by task."""
    home: str = ""
    """Where all runs are listed, of a page that is served."""

    def __post_init__(self) -> None:
        found = [{task.name: run_in_task(task) for task in run.tasks.values()} for run in self.runs]
        object.__setattr__(self, "found", found)

    @property
    def letters(self) -> list[str]:
        """What the runs are called in tables."""
        return [letter(run) for run in range(len(self.runs))]
