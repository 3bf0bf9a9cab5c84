"""How long a suite of twenty benchmarks takes on 1 to 4,096 replicas, by Muster's scheduler and by today's partitions.

    python -m benchmarks.peers.makespan             # all tables, about four minutes on one core
    python -m benchmarks.peers.makespan --quick     # small, seconds

Everything is simulated, so it comes out the same anywhere; the queue is the one that production uses. A cell is the
lower bound on the makespan (all work on all replicas while they are there, or the longest answer on the fastest) over
the makespan. Replicas answer one request at a time. Exits 1 if Muster stays under 0.97 at 512 replicas of which one in
a hundred runs at half speed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import partitions
from benchmarks.peers.suite import SUITE, Drawn, draw
from benchmarks.tables import asked_for_quick, say, table, verdict
from muster.scheduling.simulator import Replica, lower_bound, simulate

AIM, AIM_REPLICAS = 0.97, 512
SIZES = (1, 8, 64, 512, 4096)
RESTART = 180.0
"""Seconds until a lost replica is back: started again, its model loaded."""
HOUR = 3600.0
RARE, OFTEN = 1 / 1000, 1 / 10
"""Losses per replica-hour."""

Method = Callable[[Drawn, Sequence[Replica]], float]


def _queue(drawn: Drawn, predicted: NDArray[np.float64], replicas: Sequence[Replica]) -> float:
    run = simulate(drawn.seconds, predicted, replicas)
    if run.poisoned:
        raise SystemExit(f"{run.poisoned} requests were given up, which would make the run look short")
    return run.makespan


METHODS: dict[str, Method] = {
    "contiguous shards": lambda drawn, replicas: partitions.contiguous(drawn.seconds, replicas),
    "strides": lambda drawn, replicas: partitions.strided(drawn.seconds, replicas),
    "barrier per data set": lambda drawn, replicas: partitions.barriers(
        drawn.seconds, drawn.benchmark, replicas
    ),
    "first come, first served": lambda drawn, replicas: _queue(drawn, np.ones_like(drawn.seconds), replicas),
    "Muster": lambda drawn, replicas: _queue(drawn, drawn.predicted, replicas),
}
AGAIN = "Muster, lengths from an earlier run"


class Trouble(NamedTuple):
    """What a cluster suffers."""

    title: str
    slow: float = 0.0
    """Share of the replicas that run at half speed."""
    losses: float = 0.0
    """Per replica-hour."""
    late: float = 0.0
    """Share of the replicas that come when a quarter of the time has passed."""


TROUBLES = (
    Trouble("nothing happens"),
    Trouble("1 % of the replicas at half speed", slow=0.01),
    Trouble("one replica lost per 1,000 replica-hours", losses=RARE),
    Trouble("one replica lost per 10 replica-hours", losses=OFTEN),
    Trouble("half of the replicas join late", late=0.5),
    Trouble("slow, lost a hundred times as often, and late", slow=0.01, losses=OFTEN, late=0.5),
)


def cluster(count: int, trouble: Trouble, ideal: float, seed: int) -> list[Replica]:
    """Replicas at random ranks. `ideal`: seconds that the suite would take on these if nothing happened."""
    random = np.random.default_rng([seed, count])
    speeds = np.ones(count)
    speeds[random.permutation(count)[: math.ceil(count * trouble.slow)]] = 0.5
    late = set(random.permutation(count)[: int(count * trouble.late)].tolist())
    replicas = []
    for rank, speed in enumerate(speeds):
        away = [(0.0, ideal / 4)] if rank in late else []
        at = ideal / 4 if rank in late else 0.0
        while trouble.losses:
            at += float(random.exponential(HOUR / trouble.losses))
            if at > 20 * ideal + HOUR:
                break
            away.append((at, at + RESTART))
            at += RESTART
        replicas.append(Replica(float(speed), away=tuple(away)))
    return replicas


def rows(drawn: Drawn, trouble: Trouble, sizes: Sequence[int]) -> dict[int, float]:
    """Print the table of one trouble; Muster's efficiency by size."""
    lines, efficiencies = [], {}
    methods = dict(METHODS)
    if trouble.slow and not trouble.losses:
        methods[AGAIN] = lambda drawn, replicas: _queue(drawn, drawn.earlier, replicas)
    for count in sizes:
        ideal = lower_bound(drawn.seconds, [Replica()] * count)
        replicas = cluster(count, trouble, ideal, seed=1)
        bound = lower_bound(drawn.seconds, replicas)
        lost = sum(0 < start < bound for each in replicas for start, _ in each.away)
        found = {name: bound / method(drawn, replicas) for name, method in methods.items()}
        efficiencies[count] = found["Muster"]
        alone = bound <= float(drawn.seconds.max()) * (1 + 1e-9)
        limit = f"{bound:,.0f} s, {'the longest answer' if alone else 'all work'}"
        lines.append([f"{count:,}", limit, f"{lost}", *(f"{value:.3f}" for value in found.values())])
    header = ("replicas", "bound, and what sets it", "losses before it", *methods)
    table(f"{trouble.title[0].upper()}{trouble.title[1:]}", header, lines)
    return efficiencies


def main() -> int:
    """Print the tables; 1 if the aim was missed."""
    quick = asked_for_quick(__doc__)
    drawn = draw(0, 0.01 if quick else 1.0)
    sizes = (1, 8) if quick else SIZES
    began = time.process_time()
    print("# Makespan of a suite, by tool", flush=True)
    say(
        f"{len(SUITE)} benchmarks, {len(drawn.seconds):,} requests, {drawn.seconds.sum() / HOUR:,.1f} hours on one "
        f"replica; the longest answer takes {drawn.seconds.max():.0f} s. Simulated: the same on any machine."
    )
    reached = {trouble.title: rows(drawn, trouble, sizes) for trouble in TROUBLES}
    say(
        "A lost replica is back after three minutes, also where a tool would have ended or hung: its share goes on, "
        f"and only the request in its hands is made again. {time.process_time() - began:.0f} s of processor time."
    )
    half = reached[TROUBLES[1].title]
    size = AIM_REPLICAS if AIM_REPLICAS in half else max(half)
    met = half[size] >= AIM
    return 0 if verdict(f"{AIM} of the bound at {size} replicas, 1 % of them at half speed", met) else 1


if __name__ == "__main__":
    sys.exit(main())
