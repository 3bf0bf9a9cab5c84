"""What an earlier run tells: how long its answers were and how fast its replicas worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from muster.coordinator.workload import Workload
from muster.core import Completion, ConfigurationError
from muster.results.folder import RunFolder
from muster.results.journal_lines import Record
from muster.results.journal_read import latest, read_journal
from muster.results.manifest import Manifest
from muster.results.results import Results
from muster.scheduling.cost import PREFILL_COST, TokenHistory
from muster.sizing.forecast import Pace, Work, calibrate
from muster.tasks.plan import PlannedTask


@dataclass(frozen=True, slots=True)
class EarlierRun:
    """A run's answers, and the pace of its replicas."""

    model: str
    work: Work
    """Its own requests, in tokens of the answers, prompts by their share of the time."""
    history: TokenHistory
    pace: Pace
    replicas: int
    """Workers that answered something."""


class _Span(NamedTuple):
    begin: float
    end: float
    seconds: float
    """Sum over its completions."""


def read_earlier(root: Path) -> EarlierRun:
    """What the run in a folder tells.

    Raises:
        ConfigurationError: no run folder, or a run without answers.
    """
    folder = RunFolder(root)
    manifest = Manifest.load(folder.manifest)
    records = list(read_journal(folder.journal))
    counted = [record for record in latest(records).values() if record.completion.succeeded]
    if not counted:
        raise ConfigurationError(f"--from {root}: that run has no answers to learn from")
    work = _work(counted)
    spans = _spans(records)
    busy = sum(span.end - span.begin for span in spans.values())
    if busy <= 0:
        raise ConfigurationError(
            f"--from {root}: its journal doesn't tell how long its replicas worked; give --rate"
        )
    at_once = max(1, round(sum(span.seconds for span in spans.values()) / busy))
    pace = calibrate(
        work, busy, slots=at_once, batched=_batched(manifest.config), load_seconds=_load_seconds(folder)
    )
    history = TokenHistory(record.completion for record in counted)
    workers = {worker for _attempt, worker in spans}
    return EarlierRun(manifest.model, work, history, pace, len(workers))


def _batched(config: Mapping[str, object]) -> bool:
    """Whether a run's batches were static, as far as its configuration tells."""
    if config.get("backend", "transformers") != "transformers":
        return False
    args = config.get("model_args")
    static = isinstance(args, Mapping) and args.get("batching") == "static"
    return static or config.get("parallelism", "device-map") == "tensor"


def work_of_tasks(planned: Sequence[PlannedTask], history: TokenHistory | None = None) -> Work:
    """The requests of tasks by their predicted cost, with the answer lengths of an earlier run where there are any."""
    items = Workload(planned, history=history).items
    return Work(np.array([item.cost for item in items]), tuple(item.batch_key for item in items))


def pace_of_rate(work: Work, rate: float, slots: int = 1) -> Pace:
    """The pace of a replica that answers `rate` requests per second, `slots` at the same time."""
    return calibrate(work, len(work.costs) / rate, slots=slots, batched=False)


def _work(records: Sequence[Record]) -> Work:
    tasks: dict[str, int] = {}
    keys = tuple(tasks.setdefault(record.completion.key.task, len(tasks)) for record in records)
    return Work(np.array([_cost(record.completion) for record in records]), keys)


def _cost(completion: Completion) -> float:
    """In units of one generated token, as `scheduling/cost.py` predicts it; 1 where the backend counts no tokens."""
    usage = completion.usage
    if usage.completion_tokens is None:
        return 1.0
    return max(usage.completion_tokens, 1) + PREFILL_COST * (usage.prompt_tokens or 0)


def _spans(records: Sequence[Record]) -> dict[tuple[int, str], _Span]:
    """Per attempt and worker, from the start of its first answer to the end of its last."""
    spans: dict[tuple[int, str], _Span] = {}
    for record in records:
        seconds = record.completion.seconds or 0.0
        name = (record.attempt, record.worker)
        held = spans.get(name, _Span(record.at, record.at, 0.0))
        begin = min(held.begin, record.at - seconds)
        spans[name] = _Span(begin, max(held.end, record.at), held.seconds + seconds)
    return spans


def _load_seconds(folder: RunFolder) -> float:
    try:
        return Results.load(folder.results).timing.get("model_load_s") or 0.0
    except ConfigurationError:
        return 0.0  # it wasn't finished
