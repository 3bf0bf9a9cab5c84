"""Scores over checkpoints: which runs are steps of one series, and how their scores go; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from muster.view.selection import score_for
from muster.view.summary import Summary

_STEP = re.compile(
    r"(?:global[-_]?step|checkpoint|ckpt|steps?|iter(?:ation)?s?|epochs?|it)[-_=]?(\d{1,12})(?![\d.])",
    re.IGNORECASE,
)
MOST_RUNS, MOST_SERIES = 500, 8
"""In one chart; the newest."""


class Step(NamedTuple):
    """Of which series a run is which step."""

    series: str
    number: int | None
    """None: its name says none."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run in a chart."""

    run: str
    label: str
    x: float
    """The step, or the place in the order in which the runs were started."""
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Trend:
    """One task's scores."""

    task: str
    metric: str
    unit: str
    by_step: bool
    """Whether `x` is a step of training."""
    series: dict[str, list[Point]]
    """By name, each from left to right."""
    left_out: int = 0
    """Further series: older ones."""


def step_of(run: Summary) -> Step:
    """From the folder (`evals/step-500`), else from the name, else from the model's path (`out/checkpoint-500`)."""
    for text in (run.name, run.label, run.model):
        found = list(_STEP.finditer(text))
        if found:
            last = found[-1]
            rest = (text[: last.start()] + text[last.end() :]).strip("/-_. ")
            return Step(rest, int(last[1]))
    return Step("", None)


def trend(runs: Sequence[Summary], task: str) -> Trend | None:
    """How the scores for `task` go over `runs`; None where none has one.

    Over the steps, a line per series, where all runs name theirs; else one line, by when they were started.
    """
    scored = sorted((run for run in runs if _has_value(run, task)), key=lambda run: (run.created, run.name))
    scored = scored[-MOST_RUNS:]
    if not scored:
        return None
    steps = [step_of(run) for run in scored]
    by_step = all(step.number is not None for step in steps)
    series: dict[str, list[Point]] = {}
    for place, (run, step) in enumerate(zip(scored, steps, strict=True), 1):
        score = score_for(run, task)
        assert score is not None
        assert score.value is not None
        x = float(step.number) if by_step and step.number is not None else float(place)
        point = Point(run.name, run.label, x, score.value, score.low, score.high)
        name = step.series if by_step else ""
        series[name] = [*series.pop(name, ()), point]  # the one with the newest run last
    first = score_for(scored[0], task)
    assert first is not None
    newest = list(series)[-MOST_SERIES:]
    shown = {name: sorted(series[name], key=lambda point: point.x) for name in newest}
    return Trend(task, first.metric, first.unit, by_step, shown, len(series) - len(shown))


def _has_value(run: Summary, task: str) -> bool:
    score = score_for(run, task)
    return score is not None and score.value is not None
