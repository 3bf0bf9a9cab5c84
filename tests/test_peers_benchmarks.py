"""The benchmarks against other tools: what they are compared with must be played right, or Muster only looks good."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from benchmarks.peers import connections, makespan, partitions, race
from benchmarks.peers.race_questions import write_questions
from benchmarks.peers.suite import SUITE, draw
from benchmarks.peers.tools import LmmsEval, Muster
from muster.config import load_config
from muster.core import Completion, Failure, RequestKey
from muster.planning import plan
from muster.results.journal import Journal, Record
from muster.scheduling.simulator import Replica, lower_bound
from processes import gone

ONES = np.ones(12)


def test_shares_are_those_of_the_tools() -> None:
    slow = [Replica(), Replica(0.5), Replica()]
    assert partitions.contiguous(ONES, slow) == 8.0
    assert partitions.strided(ONES, slow) == 8.0
    first, last = np.array([9.0, 1, 1, 1]), np.array([1.0, 1, 1, 9])
    both = np.concatenate([first, last])
    assert partitions.strided(both, [Replica()] * 4) == 10.0
    assert partitions.barriers(both, np.repeat([0, 1], 4), [Replica()] * 4) == 18.0


@pytest.mark.parametrize(
    ("away", "end"),
    [
        ((), 4.0),
        (((1.5, 10.0),), 13.0),  # one was done, the second is begun again
        (((0.0, 2.0),), 6.0),
        (((4.0, 9.0),), 4.0),  # it had just ended
        (((1.0, 2.0), (3.5, 5.0)), 7.0),
    ],
)
def test_an_absence_costs_the_request_in_hand(away: tuple[tuple[float, float], ...], end: float) -> None:
    assert partitions.end_of_share(np.ones(4), Replica(away=away), 0.0) == end


def test_a_share_that_begins_while_its_replica_is_away_waits_for_it() -> None:
    assert partitions.end_of_share(np.ones(2), Replica(away=((1.0, 5.0),)), 3.0) == 7.0
    assert partitions.end_of_share(np.array([]), Replica(), 3.0) == 3.0


def test_the_suite_is_as_large_as_it_says() -> None:
    drawn = draw(0, 0.02)
    assert len(SUITE) == 20
    assert len(drawn.seconds) == sum(max(1, round(each.samples * 0.02)) * each.repeats for each in SUITE)
    assert (drawn.seconds > 0).all()
    for each in TROUBLED:
        replicas = makespan.cluster(64, each, 100.0, seed=1)
        assert sum(replica.speed == 0.5 for replica in replicas) == (1 if each.slow else 0)
        assert lower_bound(drawn.seconds, replicas) > 0


TROUBLED = makespan.TROUBLES


def test_no_partition_beats_the_bound() -> None:
    drawn = draw(1, 0.01)
    for trouble in TROUBLED:
        replicas = makespan.cluster(16, trouble, 600.0, seed=2)
        bound = lower_bound(drawn.seconds, replicas)
        for name, method in makespan.METHODS.items():
            assert method(drawn, replicas) >= bound * (1 - 1e-9), (trouble.title, name)


def test_the_coordinator_answers_light_workers_and_keeps_every_answer() -> None:
    """Real sockets and the real journal; `measure` itself raises where an answer is missing."""
    told = io.StringIO()
    with (
        contextlib.redirect_stdout(told),
        patch.object(connections, "CLAIMS", (4,)),
        patch("sys.argv", ["x", "--quick"]),
    ):
        assert connections.main() in (0, 1)
    assert "| 4 | 1,536 |" in told.getvalue()


# -- the race


def test_both_tools_are_asked_the_same(tmp_path: Path) -> None:
    """Else the race compares two benchmarks. One picture is broken in both forms."""
    import pyarrow.parquet as pq

    questions = write_questions(tmp_path / "q", 4, broken=True)
    (planned,) = plan(load_config({"model": "demo", "tasks": str(questions.folder / "digits.yaml")}))
    rows = pq.read_table(questions.folder / "lmms_eval" / "digits.parquet").to_pylist()
    assert [sample.id for sample in planned.samples] == [row["id"] for row in rows]
    for sample, row in zip(planned.samples, rows, strict=True):
        assert (sample.question, sample.answer) == (row["question"], row["answer"])
        assert (questions.folder / f"{sample.id}.png").read_bytes() == row["picture"]
    assert [len(row["picture"]) == 40 for row in rows] == [False, False, True, False]


def test_what_muster_saved_is_its_answers_and_not_its_failures(tmp_path: Path) -> None:
    assert Muster().saved(tmp_path) == 0
    with Journal.open(tmp_path / "journal.jsonl", "r") as journal:
        journal.append(Record(Completion(RequestKey("race", "0"), "7"), "w", 0.0, 1))
        failed = Completion(RequestKey("race", "1"), failure=Failure("sample", "X", "broken"))
        journal.append(Record(failed, "w", 0.0, 1))
    assert Muster().saved(tmp_path) == 1


def test_what_lmms_eval_saved_is_read_from_its_caches_and_logs(tmp_path: Path) -> None:
    tool = LmmsEval(sys.executable)
    assert (tool.saved(tmp_path), tool.score(tmp_path)) == (0, None)
    (tmp_path / "cache" / "runs").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "cache" / "runs" / "rank_0.db")) as db, db:
        db.execute("create table responses (cache_key text)")
        db.execute("insert into responses values ('a'), ('b')")
    assert tool.saved(tmp_path) == 2
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1_samples_race.jsonl").write_text("{}\n{}\n{}\n")
    (tmp_path / "logs" / "1_results.json").write_text(
        json.dumps({"results": {"race": {"accuracy,none": 0.5}}})
    )
    assert (tool.saved(tmp_path), tool.score(tmp_path)) == (3, 0.5)
    assert tool.answered(tmp_path, "Model Responding:   5%|x\rModel Responding:  40%|xx", 200) == 80


def test_a_program_is_watched_and_killed_with_its_children_when_it_is_to_be(tmp_path: Path) -> None:
    """A child that survives goes on answering, and the restart is not one."""
    import psutil

    before = {each.pid for each in psutil.Process().children(recursive=True)}  # other tests' servers

    def started() -> list[psutil.Process]:
        return [each for each in psutil.Process().children(recursive=True) if each.pid not in before]

    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    found = race.watch(
        Muster(), [sys.executable, "-c", child], tmp_path / "out", 1, lambda _: len(started()) >= 2
    )
    assert found.status is None
    assert all(gone(each) for each in started())
    ended = race.watch(Muster(), [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "out2", 1)
    assert (ended.status, ended.first_saved) == (3, None)
