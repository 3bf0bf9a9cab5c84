"""Which samples of the tasks a run takes: `--limit` and `--sample-ids`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from muster.core import ConfigurationError, Sample
from muster.tasks.samples import Samples

Limit = int | float


def parse_limit(text: str) -> Limit:
    """`100` (samples), `0.1` (a fraction), `1.0` (everything), as users type it.

    Raises:
        ConfigurationError: it is neither a count of at least 1 nor a fraction.
    """
    try:
        limit: Limit = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise ConfigurationError(
            f"limit {text!r}: give a number of samples or a fraction such as 0.1"
        ) from None
    _counted(limit, 0)
    return limit


def select(
    samples: Sequence[Sample], limit: Limit | None = None, sample_ids: Sequence[str] | None = None
) -> Samples:
    """The samples named by `sample_ids`, of those the first `limit`, in the benchmark's own order.

    `limit` is a count (the int 1 is one sample) or, as a float up to 1, a fraction, rounded up (the float 1.0 is
    everything). An id that isn't there is passed over: it may be another task's (see `select_tasks`). A later turn of
    a dialogue brings the turns before it.

    Raises:
        ConfigurationError: `limit` is neither.
    """
    found = Samples.of(samples)
    if sample_ids is not None:
        named = frozenset(sample_ids)
        picked = [number for number, sample_id in enumerate(found.ids()) if sample_id in named]
        wanted = {turn.id for number in picked for turn in found[number].dialogue}
        found = found.chosen([number for number, sample_id in enumerate(found.ids()) if sample_id in wanted])
    return found if limit is None else found[: _counted(limit, len(found))]


def select_tasks(
    samples: Mapping[str, Sequence[Sample]],
    limit: Limit | None = None,
    sample_ids: Sequence[str] | None = None,
) -> dict[str, Samples]:
    """`select` for several tasks (task name to samples), each on its own.

    An id stands for that sample of every task that has it; `task/id` for that of one task.

    Raises:
        ConfigurationError: an id is in none of the tasks, or `limit` is neither a count nor a fraction.
    """
    if sample_ids is None:
        return {task: select(items, limit) for task, items in samples.items()}
    wanted = frozenset(sample_ids)
    found: set[str] = set()
    selected: dict[str, Samples] = {}
    for task, given in samples.items():
        items = Samples.of(given)
        named = {sample_id: wanted & {sample_id, f"{task}/{sample_id}"} for sample_id in items.ids()}
        found.update(*named.values())
        selected[task] = select(items, limit, [sample_id for sample_id, names in named.items() if names])
    if missing := [name for name in dict.fromkeys(sample_ids) if name not in found]:
        raise ConfigurationError(
            f"No sample has the id {', '.join(map(repr, missing))} in {', '.join(samples) or 'no task'}. "
            "Ids are those in the task's data file (the row number from 0 where it gives none)."
        )
    return selected


def _counted(limit: Limit, available: int) -> int:
    if isinstance(limit, float) and 0 < limit <= 1:
        # Decimal, because 0.07 * 100 is 7.000000000000001 and would be rounded up to 8.
        return math.ceil(Decimal(repr(limit)) * available)
    if limit >= 1 and limit == limit // 1 and math.isfinite(limit):
        return int(limit)
    raise ConfigurationError(
        f"limit {limit}: give a number of samples (at least 1) or a fraction between 0 and 1"
    )
