"""Expected time, efficiency and GPU-hours, from an earlier run or a rate.

Guards against forecasts that ignore the tail: with more replicas than long answers the time stops falling, and what is
paid goes on rising.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.config import load_config
from muster.core import Completion, ConfigurationError, RequestKey, Usage
from muster.planning import plan
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_lines import Record
from muster.results.manifest import Manifest
from muster.sizing.earlier import pace_of_rate, read_earlier, work_of_tasks
from muster.sizing.forecast import DOUBLINGS, Pace, Work, calibrate, forecast


def uniform(count: int) -> Work:
    return Work(np.ones(count), (0,) * count)


def test_equal_requests_on_one_replica_take_their_sum() -> None:
    [row] = forecast(uniform(100), Pace(0.5), 2, [1])
    assert row.seconds == pytest.approx(50)
    assert row.efficiency == pytest.approx(1)
    assert row.gpu_hours == pytest.approx(2 * 50 / 3600)


def test_more_replicas_than_requests_only_cost_more() -> None:
    rows = forecast(uniform(1000), Pace(1.0, load_seconds=60), 4)
    assert [row.replicas for row in rows] == list(DOUBLINGS)
    assert rows[-1].gpus == 4 * 4096
    assert rows[-1].seconds == pytest.approx(61)
    assert rows[-1].efficiency < 0.3
    assert rows[-1].gpu_hours > rows[0].gpu_hours * 10


def test_one_long_answer_bounds_the_time() -> None:
    work = Work(np.array([1000.0, *[1.0] * 999]), (0,) * 1000)
    [row] = forecast(work, Pace(1.0), 1, [64])
    assert row.seconds == pytest.approx(1000)
    assert row.efficiency == pytest.approx(1999 / 64_000)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=60), st.integers(1, 8), st.booleans())
def test_more_replicas_never_take_much_longer(costs: list[float], slots: int, batched: bool) -> None:
    work = Work(np.array(costs), (0,) * len(costs))
    pace = Pace(0.1, slots, batched)
    rows = forecast(work, pace, 1, [1, 2, 4, 8, 64])
    for row in rows:
        assert 0 < row.efficiency <= 1
    assert rows[-1].seconds <= rows[0].seconds + 1e-9
    assert rows[-1].seconds >= max(costs) * 0.1 - 1e-9


@pytest.mark.parametrize(("slots", "batched"), [(1, False), (8, False), (8, True)])
def test_a_calibrated_replica_takes_what_was_measured(slots: int, batched: bool) -> None:
    work = Work(np.random.default_rng(0).lognormal(3, 1, 200), (0,) * 200)
    pace = calibrate(work, 321.0, slots=slots, batched=batched, load_seconds=9.0)
    [row] = forecast(work, pace, 1, [1])
    assert row.seconds == pytest.approx(330, rel=0.02)  # batches are put together while the one before runs


def test_a_rate_is_that_of_one_replica() -> None:
    planned = plan(load_config({"model": "demo", "tasks": "digits_read", "limit": "200"}, env={}))
    work = work_of_tasks(planned)
    [alone, four] = forecast(work, pace_of_rate(work, 10.0), 1, [1, 4])
    assert alone.seconds == pytest.approx(20)
    assert four.seconds == pytest.approx(5, rel=0.05)


def write_run(
    root: Path, lengths: list[int], *, workers: int, batch: int, seconds_per_token: float, tokens: bool = True
) -> None:
    """A run whose workers answered static batches one after another."""
    folder = RunFolder(root)
    folder.create()
    start = time.time()
    manifest = Manifest(
        run="r",
        model="m",
        config={"backend": "transformers", "model_args": {"batching": "static"}},
        fingerprint={},
        tasks={},
        muster="",
        created=start,
    )
    manifest.save(folder.manifest)
    clocks = [start] * workers
    with Journal.open(folder.journal, "r") as journal:
        for number, begin in enumerate(range(0, len(lengths), batch)):
            part, worker = lengths[begin : begin + batch], number % workers
            seconds = max(part) * seconds_per_token
            clocks[worker] += seconds
            for place, length in enumerate(part):
                key = RequestKey("t", str(begin + place))
                usage = Usage(0, length if tokens else None)
                done = Completion(key, "x", usage=usage, seconds=seconds)
                journal.append(Record(done, f"worker {worker}", clocks[worker], 1))


@pytest.mark.parametrize("batch", [1, 4])
def test_an_earlier_run_tells_its_own_time(batch: int, tmp_path: Path) -> None:
    """Two workers took so long for these answers: so the forecast for two replicas has to say about that."""
    lengths = sorted(np.random.default_rng(1).integers(1, 200, 160).tolist(), reverse=True)
    write_run(tmp_path, lengths, workers=2, batch=batch, seconds_per_token=0.05)
    earlier = read_earlier(tmp_path)
    assert (earlier.replicas, earlier.pace.slots, earlier.pace.batched) == (2, batch, True)
    took = sum(max(lengths[begin : begin + batch]) for begin in range(0, 160, batch)) * 0.05 / 2
    [two, eight] = forecast(earlier.work, earlier.pace, 1, [2, 8])
    assert two.seconds == pytest.approx(took, rel=0.05)
    assert eight.seconds < two.seconds / 3
    assert earlier.history.expected(RequestKey("t", "0")) == lengths[0]


def test_a_backend_that_counts_no_tokens_still_gives_a_pace(tmp_path: Path) -> None:
    write_run(tmp_path, [10] * 40, workers=1, batch=1, seconds_per_token=0.1, tokens=False)
    earlier = read_earlier(tmp_path)
    [row] = forecast(earlier.work, earlier.pace, 1, [1])
    assert row.seconds == pytest.approx(40, rel=0.01)


def test_a_run_without_answers_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path, [], workers=1, batch=1, seconds_per_token=1)
    with pytest.raises(ConfigurationError, match="no answers to learn from"):
        read_earlier(tmp_path)
