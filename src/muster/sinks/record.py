"""What a tracker gets of a run: its scores, how it was made, and the files worth keeping there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from muster.core import JSON
from muster.results.folder import RunFolder
from muster.results.manifest import Manifest
from muster.results.redaction import redact_settings
from muster.results.results import Metrics, Results, finite

Setting: TypeAlias = str | int | float | bool

UNSENT = frozenset({"output", "sink", "sink_step", "events", "progress", "secret_file"})
"""Options that say nothing of how the scores came about."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score. Values are in `unit`."""

    task: str
    """Or group; with its scoring variant where it isn't the task's own: `vqa@lmms-eval`."""
    metric: str
    value: float
    ci95: tuple[float, float] | None
    unit: str
    n: int
    primary: bool

    @property
    def name(self) -> str:
        """`task/metric`."""
        return f"{self.task}/{self.metric}"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as trackers see it."""

    run: str
    """Identifies it: a run that is sent again replaces itself."""
    label: str
    folder: Path
    complete: bool
    step: int
    """Of the training that the model comes from; 0 where there is none."""
    settings: Mapping[str, Setting]
    """Flat, by dotted names; without secrets."""
    scores: Sequence[Score]
    further: Mapping[str, float]
    """Speed, tokens, errors: `timing/samples_per_s`."""
    files: Sequence[Path]

    def numbers(self) -> dict[str, float]:
        """All that is a number: `task/metric`, its interval's ends `task/metric/ci95_low` and `…high`, and the rest."""
        numbers: dict[str, float] = {}
        for score in self.scores:
            numbers[score.name] = score.value
            if score.ci95 is not None:
                numbers[f"{score.name}/ci95_low"], numbers[f"{score.name}/ci95_high"] = score.ci95
        return {**numbers, **self.further}


def record_of(folder: RunFolder, step: int, files: Sequence[Path] = ()) -> RunRecord:
    """Read a run folder. `files`: beside results.json and manifest.json.

    Raises:
        ConfigurationError: it is no run folder, or has no scores yet.
    """
    manifest, results = Manifest.load(folder.manifest), Results.load(folder.results)
    return RunRecord(
        run=results.run,
        label=results.label,
        folder=folder.root,
        complete=results.complete,
        step=step,
        settings=_settings(manifest, results),
        scores=_scores(results),
        further=_further(results),
        files=[folder.results, folder.manifest, *files],
    )


def _scores(results: Results) -> list[Score]:
    scores: list[Score] = []
    for name, task in results.tasks.items():
        scores += _of(name, task.metrics, task.primary)
        for variant, other in task.variants.items():
            scores += _of(f"{name}@{variant}", other.metrics, other.primary)
    for name, group in results.groups.items():
        scores += _of(name, group.metrics, next(iter(group.metrics), ""))
    return scores


def _of(task: str, metrics: Metrics, primary: str) -> list[Score]:
    scores = []
    for metric, result in metrics.items():
        if (value := finite(result.value)) is None:
            continue
        low, high = result.ci95 or (None, None)
        interval = None if low is None or high is None else (low, high)
        scores.append(Score(task, metric, value, interval, result.unit, result.n, metric == primary))
    return scores


def _further(results: Results) -> dict[str, float]:
    named = {
        **{f"timing/{name}": value for name, value in results.timing.items()},
        **{f"usage/{name}": value for name, value in results.usage.items()},
        **{f"errors/{name}": float(task.samples.errored) for name, task in results.tasks.items()},
    }
    return {name: number for name, value in named.items() if (number := finite(value)) is not None}


def _settings(manifest: Manifest, results: Results) -> dict[str, Setting]:
    config = {name: value for name, value in manifest.config.items() if name not in UNSENT}
    how: dict[str, JSON] = {
        name: f"{task.metric} {task.metric_version} ({task.metric_variant})"
        for name, task in results.tasks.items()
    }
    everything: dict[str, JSON] = {
        **redact_settings(config),
        "model": results.model,
        "muster_run": results.run,
        "scored_as": how,
        "packages": dict(manifest.packages),
    }
    return _flat(everything)


def _flat(value: JSON, prefix: str = "") -> dict[str, Setting]:
    """Dotted names; lists joined by commas; what is empty is left out."""
    if isinstance(value, dict):
        return {
            name: setting
            for key, item in value.items()
            for name, setting in _flat(item, f"{prefix}.{key}" if prefix else key).items()
        }
    if isinstance(value, list):
        return {prefix: ",".join(map(str, value))} if value else {}
    return {} if value is None or value == "" else {prefix: value}
