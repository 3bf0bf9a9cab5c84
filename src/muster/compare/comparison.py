"""Runs compared sample by sample: differences with intervals and tests, ties, flips, and what they cost."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from muster.compare.paired_interval import PairedEstimate, cluster_sums, paired_estimate
from muster.compare.paired_tests import TestResult, holm, sign_flip_test
from muster.compare.pairing import AlignedTask, align, cluster_array, metadata_column, score_array
from muster.compare.power import smallest_detectable
from muster.compare.settings import SettingDifference, setting_differences
from muster.core import ConfigurationError
from muster.core.phases import phase
from muster.result_files.loaded import Headline, LoadedRun, LoadedTask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights = Literal["tasks", "samples"]
ALPHA = 0.05
NO_VALUE = "(none)"
_SMALL = 200


@dataclass(frozen=True, slots=True)
class RunInTask:
    """One run in one task."""

    mean: float
    """Over the pairs that count (those that all runs have a score for); NaN of none."""
    headline: Headline | None
    scored: int
    errors: int
    """Samples without a score, whatever the reason."""
    unreadable: int
    """Scored answers in which the metric found nothing to score."""
    unfinished: int
    """Answers that ended before their thought did."""
    cut_off: int
    """Answers that ended at the token limit."""
    tokens: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class CategoryDifference:
    """The difference within one category. A look at where it is, not a test: nothing is corrected for many of them."""

    key: str
    value: str
    first: float
    second: float
    estimate: PairedEstimate


@dataclass(frozen=True, slots=True)
class PairDifference:
    """How run `second` compares with run `first` in one task; both are positions in `Comparison.labels`."""

    first: int
    second: int
    estimate: PairedEstimate
    """Second minus first."""
    test: TestResult
    p_adjusted: float
    """Holm's, over all differences of the comparison."""
    better: tuple[str, ...]
    """Ids of the samples on which `second` scores higher, in the task's order."""
    worse: tuple[str, ...]
    smallest: float | None
    """The difference that as many samples would show with a power of 80 %."""
    categories: tuple[CategoryDifference, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the difference is more than chance, all tests of the comparison taken together."""
        return self.p_adjusted <= ALPHA


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """One task."""

    name: str
    score: str
    unit: str
    scoring: tuple[str, ...]
    """By run."""
    pairs: int
    """Samples (and repeats) that all runs have a score for."""
    clusters: int
    left_out: int
    """Samples that all runs have, but not all a score for."""
    dropped: tuple[int, ...]
    """By run: samples that other runs don't have (only with `common`)."""
    runs: tuple[RunInTask, ...]
    differences: tuple[PairDifference, ...]
    tied: tuple[tuple[int, ...], ...]
    """Largest sets of runs, best first, no two of which can be told apart; each has at least two."""
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PooledDifference:
    """The difference over all tasks together."""

    first: int
    second: int
    difference: float
    stderr: float | None
    interval: tuple[float, float] | None
    weights: Weights


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it."""

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    notes: tuple[tuple[str, ...], ...]
    """By run: what to know about how its files were read."""
    settings: tuple[SettingDifference, ...]
    tasks: tuple[TaskComparison, ...]
    pooled: tuple[PooledDifference, ...]
    """Empty where the tasks' scores have different units."""
    costs: tuple[float | None, ...]
    missing: tuple[tuple[str, ...], ...]
    """By run: tasks that it has and another doesn't."""


def compare(
    runs: Sequence[LoadedRun],
    *,
    common: bool = False,
    all_pairs: bool = False,
    tasks: list[str] | None = None,
    by: Sequence[str] = (),
    cluster: str | None = None,
    weights: Weights = "tasks",
) -> Comparison:
    """Compare `runs` on the samples that they were all asked; the first is the baseline, unless `all_pairs`.

    `by`: metadata to break differences down by. `cluster`: metadata whose equal values make samples dependent, in
    place of the images that they share. `weights`: how the tasks are pooled: each the same, or by its samples.

    Raises `ConfigurationError` for fewer than two runs, other samples (unless `common`), and scores that can't be
    compared.
    """
    if len(runs) < 2:
        raise ConfigurationError("give at least two runs to compare")
    aligned = align(list(runs), common=common, tasks=tasks)
    scored = [each for each in aligned if all(task.score for task in each.tasks)]
    if scored and tasks is None:  # a submission for a server has answers and no scores
        aligned = scored
    which = (
        list(itertools.combinations(range(len(runs)), 2))
        if all_pairs
        else [(0, n) for n in range(1, len(runs))]
    )
    for key in by:
        if not any(metadata_column(each.tasks[0], key).drop_null() for each in aligned):
            raise ConfigurationError(
                f"no sample's metadata has {key!r}, by which the differences were to be broken down"
            )
    with phase("comparing", "tasks", len(aligned)) as progress:
        compared = []
        for each in aligned:
            compared.append(_task(each, which, by, cluster))
            progress.done += 1
    adjusted = iter(holm([pair.test.p_value for task in compared for pair in task.differences]))
    compared = [
        replace(
            task, differences=tuple(replace(pair, p_adjusted=next(adjusted)) for pair in task.differences)
        )
        for task in compared
    ]
    compared = [replace(task, tied=_tied(task, len(runs))) for task in compared]
    return Comparison(
        labels=tuple(run.label for run in runs),
        paths=tuple(str(run.path) for run in runs),
        kinds=tuple(run.kind for run in runs),
        notes=tuple((*run.notes, *(() if run.complete else ("the run is not complete",))) for run in runs),
        settings=tuple(setting_differences(runs, [task.name for task in compared])),
        tasks=tuple(compared),
        pooled=_pooled(compared, which, weights),
        costs=tuple(run.cost for run in runs),
        missing=tuple(
            tuple(
                name
                for name, task in run.tasks.items()
                if not task.score or any(name not in other.tasks for other in runs)
            )
            for run in runs
        ),
    )


def _task(
    aligned: AlignedTask, which: Sequence[tuple[int, int]], by: Sequence[str], cluster: str | None
) -> TaskComparison:
    import numpy as np

    if not all(task.score for task in aligned.tasks):
        raise ConfigurationError(
            f"task {aligned.name}: a run has no score of any single answer there, so nothing to pair"
        )
    scores = np.stack([score_array(task) for task in aligned.tasks])
    counted = np.logical_not(np.isnan(scores).any(axis=0))
    clusters = cluster_array(aligned.tasks[0], cluster)
    if clusters is not None:
        clusters = clusters[counted]
    ids = aligned.tasks[0].rows["id"].to_numpy(zero_copy_only=False)[counted]
    categories = {key: _categories(aligned.tasks[0], key)[counted] for key in by}
    kept = scores[:, counted]
    differences = tuple(_pair(kept, first, second, clusters, ids, categories) for first, second in which)
    return TaskComparison(
        name=aligned.name,
        score=aligned.tasks[0].score,
        unit=aligned.tasks[0].unit,
        scoring=tuple(task.scoring for task in aligned.tasks),
        pairs=int(counted.sum()),
        clusters=int(counted.sum()) if clusters is None else int(np.unique(clusters).size),
        left_out=int((~counted).sum()),
        dropped=aligned.dropped,
        runs=tuple(run_in_task(task, counted) for task in aligned.tasks),
        differences=differences,
        tied=(),
        remarks=_remarks(aligned),
    )


def _pair(
    scores: NDArray[np.float64],
    first: int,
    second: int,
    clusters: NDArray[np.int64] | None,
    ids: NDArray[np.object_],
    categories: dict[str, NDArray[np.object_]],
) -> PairDifference:
    differences = scores[second] - scores[first]
    estimate = paired_estimate(differences, clusters)
    return PairDifference(
        first=first,
        second=second,
        estimate=estimate,
        test=sign_flip_test(cluster_sums(differences, clusters)),
        p_adjusted=1.0,
        better=tuple(ids[differences > 0].tolist()),
        worse=tuple(ids[differences < 0].tolist()),
        smallest=smallest_detectable(estimate),
        categories=tuple(
            each
            for key, values in categories.items()
            for each in _by_category(scores[first], scores[second], clusters, key, values)
        ),
    )


def _by_category(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    clusters: NDArray[np.int64] | None,
    key: str,
    values: NDArray[np.object_],
) -> list[CategoryDifference]:
    import numpy as np

    found = []
    names, which = np.unique(values, return_inverse=True)
    ends = np.cumsum(np.bincount(which, minlength=len(names)))
    for value, inside in zip(names.tolist(), np.split(np.argsort(which, kind="stable"), ends), strict=False):
        estimate = paired_estimate(
            second[inside] - first[inside], None if clusters is None else clusters[inside]
        )
        found.append(
            CategoryDifference(
                key, value, float(first[inside].mean()), float(second[inside].mean()), estimate
            )
        )
    return found


def _categories(task: LoadedTask, key: str) -> NDArray[np.object_]:
    import numpy as np

    column = metadata_column(task, key)
    return np.array([NO_VALUE if value is None else value for value in column.to_pylist()], dtype=object)


def run_in_task(task: LoadedTask, counted: NDArray[np.bool_] | None = None) -> RunInTask:
    """What one run did in a task; its mean is over the rows in `counted` (all that have a score by default)."""
    import numpy as np
    import pyarrow.compute as pc

    rows = task.rows
    scores = score_array(task)
    scored = np.logical_not(np.isnan(scores))
    counted = scored if counted is None else counted
    nothing = pc.is_null(rows["extracted"]).to_numpy(zero_copy_only=False)
    reads = not bool(nothing.all())
    return RunInTask(
        mean=float(scores[counted].mean()) if counted.any() else float("nan"),
        headline=task.headline,
        scored=int(scored.sum()),
        errors=int((~scored).sum()),
        unreadable=int((nothing & scored).sum()) if reads else 0,
        unfinished=int(pc.sum(rows["unfinished"]).as_py() or 0),
        cut_off=int(pc.sum(pc.fill_null(pc.equal(rows["finish_reason"], "length"), False)).as_py() or 0),
        tokens=pc.sum(rows["tokens"]).as_py(),
        seconds=pc.sum(rows["seconds"]).as_py(),
    )


def _remarks(aligned: AlignedTask) -> tuple[str, ...]:
    remarks = []
    scorings = dict.fromkeys(task.scoring for task in aligned.tasks if task.scoring)
    if len(scorings) > 1:
        remarks.append(f"scored in different ways: {', '.join(scorings)}")
    names = dict.fromkeys(task.score for task in aligned.tasks)
    if len(names) > 1:
        remarks.append(f"different scores are paired: {', '.join(names)}")
    if headline := next(
        (task.headline for task in aligned.tasks if not task.headline_is_mean and task.headline), None
    ):
        remarks.append(
            f"`{headline.name}` is no mean of answers; what is paired is each answer's `{aligned.tasks[0].score}`"
        )
    return tuple(remarks)


def _tied(task: TaskComparison, runs: int) -> tuple[tuple[int, ...], ...]:
    """Runs sorted by their mean; stretches of them within which every difference that was tested may be chance."""
    if not task.pairs:
        return ()
    apart = {(pair.first, pair.second) for pair in task.differences if pair.differs}
    tested = {(pair.first, pair.second) for pair in task.differences}
    order = sorted(range(runs), key=lambda run: -task.runs[run].mean)
    found: list[tuple[int, ...]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(
            (pair := (min(run, order[end]), max(run, order[end]))) in tested and pair not in apart
            for run in order[start:end]
        ):
            end += 1
        stretch = tuple(order[start:end])
        if len(stretch) > 1 and not any(set(stretch) <= set(other) for other in found):
            found.append(stretch)
    return tuple(found)


def _pooled(
    tasks: Sequence[TaskComparison], which: Sequence[tuple[int, int]], weights: Weights
) -> tuple[PooledDifference, ...]:
    """Weighted means of the tasks' differences, taken as independent of each other."""
    import math

    from muster.results.quantiles import Z95

    counted = [task for task in tasks if task.pairs]
    if len(counted) < 2 or len({task.unit for task in counted}) > 1:
        return ()
    shares = [1.0 if weights == "tasks" else float(task.pairs) for task in counted]
    total = sum(shares)
    pooled = []
    for position, (first, second) in enumerate(which):
        estimates = [task.differences[position].estimate for task in counted]
        difference = sum(s * each.difference for s, each in zip(shares, estimates, strict=True)) / total
        # The half width of each interval in normal units: it has a width where nothing differs, and few samples count.
        errors = [
            None if each.interval is None else (each.interval[1] - each.interval[0]) / 2 / Z95
            for each in estimates
        ]
        stderr = None
        if None not in errors:
            stderr = (
                math.sqrt(sum((s * e) ** 2 for s, e in zip(shares, errors, strict=True) if e is not None))
                / total
            )
        interval = None if stderr is None else (difference - Z95 * stderr, difference + Z95 * stderr)
        pooled.append(PooledDifference(first, second, difference, stderr, interval, weights))
    return tuple(pooled)
