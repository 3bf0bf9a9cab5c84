"""Whether a metric gives the scores that it says it gives."""

from __future__ import annotations

from muster.metrics.protocol import Metric


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
    return None
