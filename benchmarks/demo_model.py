"""The demo model's own time: what `model.generate` takes on the very batches of a run, with nothing around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from muster.config import load_config
from muster.core import Request
from muster.models.protocol import ModelSettings
from muster.models.transformers.backend import TransformersModel
from muster.models.transformers.generation import RowEnds
from muster.models.transformers.preparation import Prepared, Preparer
from muster.report.display import Silent
from muster.results.journal_read import read_entries
from muster.run import run


@dataclass
class Calls:
    """The calls of `model.generate` in one run."""

    generate: Callable[..., torch.Tensor]
    preparer: Preparer
    arguments: list[dict[str, Any]] = field(default_factory=list)
    claims: list[list[Request]] = field(default_factory=list)
    """What was prepared together."""
    seconds: float = 0.0
    """Spent in them, while the run went on around them."""
    began: float = 0.0
    """Unix seconds: the model was loaded."""

    def __call__(self, **arguments: Any) -> torch.Tensor:
        """Note a call and make it."""
        self.arguments.append(arguments)
        began = time.perf_counter()
        output = self.generate(**arguments)
        self.seconds += time.perf_counter() - began
        return output

    def again(self) -> float:
        """Make all calls again, one after the other; seconds."""
        fresh = [_fresh(arguments) for arguments in self.arguments]
        began = time.perf_counter()
        with torch.inference_mode():
            for arguments in fresh:
                self.generate(**arguments)
        return time.perf_counter() - began

    def prepare_again(self) -> float:
        """Prepare all batches again; seconds."""
        began = time.perf_counter()
        for claimed in self.claims:
            self.preparer.prepare(claimed)
        return time.perf_counter() - began


def _fresh(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments; a stopping criterion remembers which rows it has ended, so it needs a new one."""
    criteria = [RowEnds(ends.rows) for ends in arguments["stopping_criteria"]]
    return {**arguments, "stopping_criteria": criteria}


class Recorded(TransformersModel):
    """The backend of `muster run`, with its calls of `model.generate` noted."""

    latest: ClassVar[Recorded]

    def __init__(self, settings: ModelSettings) -> None:
        """Load the model, and wait for the process that prepares its batches."""
        super().__init__(settings)
        while (
            self._process is not None and not self._process.ready
        ):  # it loads in a new interpreter, unlike this one
            time.sleep(0.01)
        model: Any = self._loaded.model
        self.calls = model.generate = Calls(model.generate, self._preparer)
        Recorded.latest = self
        self.calls.began = time.time()

    def _prepare(self, requests: list[Request]) -> Prepared:
        self.calls.claims.append(requests)
        return super()._prepare(requests)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of one run, after loading."""

    requests: int
    batches: int
    bare: float
    """`model.generate` on the same batches, alone."""
    by_hand: float
    """The same with preparing the batches before, in one thread: a plain loop over the benchmark."""
    within: float
    """`model.generate` during the run, while the next batch is prepared beside it."""
    answered: float
    """Until the last answer is in the journal."""
    written: float
    """Until the results are written."""


def measure(model: str, output: Path, batch_size: int, limit: int | None) -> Measured:
    """One run of a model in this process, and its batches again."""
    config = load_config(
        {
            "model": model,
            "tasks": "digits",
            "output": output,
            "engine": "inline",
            "backend": f"{__name__}:Recorded",
            "batch_size": batch_size,
            "limit": limit,
            # Static batches: `generate` alone then does the very same work.
            "model_args": {"device": "cpu", "batching": "static"},
        }
    )
    run(config, Silent())
    calls = Recorded.latest.calls
    Recorded.latest.close()
    bare = min(calls.again() for _ in range(3))
    answered = [entry.at for entry in read_entries(output / "journal.jsonl")]
    return Measured(
        requests=len(answered),
        batches=len(calls.arguments),
        bare=bare,
        by_hand=bare + min(calls.prepare_again() for _ in range(3)),
        within=calls.seconds,
        answered=max(answered) - calls.began,
        written=(output / "results.json").stat().st_mtime - calls.began,
    )
