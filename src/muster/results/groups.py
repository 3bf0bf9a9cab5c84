"""What the tasks of a group come to together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from muster.results.results import GroupResults, MetricResult, TaskResults

MACRO_MEAN = "macro_mean"
"""The plain mean of the tasks' headline scores: each task counts the same, however many samples it has."""

GAIN = "delta_knowledge"
"""Of what was wrong before, how much is right afterwards; negative where less is right."""
GAINS: Mapping[str, tuple[str, str]] = {"videommmu_gain": ("videommmu_question_only", "videommmu_adaptation")}
"""Groups that have this in place of a mean (Video-MMMU, Hu et al. 2025): the task before and the task afterwards."""


def group_results(
    tasks: Mapping[str, TaskResults], groups: Mapping[str, Sequence[str]]
) -> dict[str, GroupResults]:
    """The results of `groups` (name to its tasks), all of whose tasks are in `tasks`.

    Without a score where the tasks' headline scores are of different units (points and shares have no mean), or
    one of them has none.
    """
    there = {
        name: list(members)
        for name, members in groups.items()
        if members and all(member in tasks for member in members)
    }
    return {
        name: _gain(members, *(tasks[each] for each in GAINS[name]))
        if set(GAINS.get(name, ())) == set(members)
        else _together(members, [tasks[member] for member in members])
        for name, members in there.items()
    }


def _gain(names: list[str], before: TaskResults, after: TaskResults) -> GroupResults:
    """In percent, without an interval: the same questions are asked twice."""
    first, second = (task.metrics.get(task.primary) for task in (before, after))
    if first is None or second is None or first.value is None or second.value is None or first.value == 1:
        return GroupResults(names)
    gain = 100 * (second.value - first.value) / (1 - first.value)
    return GroupResults(names, {GAIN: MetricResult(gain, unit="percent", n=len(names))})


def _together(names: list[str], results: Sequence[TaskResults]) -> GroupResults:
    headlines = [task.metrics.get(task.primary) for task in results]
    values = [each.value for each in headlines if each is not None and each.value is not None]
    units = {each.unit for each in headlines if each is not None}
    if len(units) > 1 or len(values) < len(names):
        return GroupResults(names)
    errors = [each.stderr for each in headlines if each is not None and each.stderr is not None]
    # Taken as independent, which tasks over the same images are not quite.
    stderr = math.hypot(*errors) / len(names) if len(errors) == len(names) else None
    mean = math.fsum(values) / len(values)
    interval = _interval(mean, [each for each in headlines if each is not None])
    return GroupResults(names, {MACRO_MEAN: MetricResult(mean, stderr, interval, units.pop(), len(names))})


def _interval(mean: float, headlines: Sequence[MetricResult]) -> tuple[float, float] | None:
    """The interval of the mean of independent scores from theirs, None where one has none: square and add.

    MOVER, the method of variance estimates recovery (Zou & Donner 2008; Newcombe 1998), which keeps the tasks' own
    intervals lopsided where they are: all right isn't 1 ± 0.
    """
    below, above = [], []
    for each in headlines:
        low, high = each.ci95 or (None, None)
        if each.value is None or low is None or high is None:
            return None
        below.append(each.value - low)
        above.append(high - each.value)
    return mean - math.hypot(*below) / len(headlines), mean + math.hypot(*above) / len(headlines)
