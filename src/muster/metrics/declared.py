"""Whether a metric gives the scores that it says it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

from muster.metrics.protocol import Metric, Score


def undeclared(metric: Metric, values: object) -> str | None:
    """What is wrong with the names of a metric's aggregates; None where nothing is."""
    info = metric.info
    declared = f"its info declares {', '.join(info.units) or 'nothing'}"
    if not isinstance(values, dict):
        return f"metric {info.name}: aggregate gave a {type(values).__name__} instead of scores by name; {declared}"
    if extra := [str(name) for name in values if name not in info.units]:
        return (
            f"metric {info.name}: aggregate gave {', '.join(extra)}, but {declared}. Add the name with its unit to "
            "`units`, or leave it out"
        )
    if info.primary not in values:
        return f"metric {info.name}: aggregate gave no {info.primary!r}, which its info calls primary; {declared}"
    for name, value in values.items():
        if value is not None and not isinstance(value, Real):
            return f"metric {info.name}: aggregate gave {value!r} for {name!r}, which is no number"
    return None


def unfit(metric: Metric, score: Score) -> str | None:
    """What is wrong with an answer's score; None where nothing is."""
    scores: Mapping[str, object] = score.scores  # a plug-in may give anything
    extracted: object = score.extracted
    for key, value in scores.items():
        if not isinstance(value, float | Real) or not math.isfinite(value):
            return f"metric {metric.info.name} gave {value!r} as the score {key!r}, which is no finite number"
    if extracted is not None and not isinstance(extracted, str):
        kind = type(extracted).__name__
        return (
            f"metric {metric.info.name} gave a {kind} as what it read (`extracted`): expected a text or None"
        )
    return None
