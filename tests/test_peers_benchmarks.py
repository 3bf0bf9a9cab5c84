"""The benchmarks against other tools: what they are compared with must be played right, or Muster only looks good."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import muster
from benchmarks.peers import connections, makespan, partitions, race, race_model
from benchmarks.peers.race_questions import demo_questions, kernel_questions
from benchmarks.peers.suite import SUITE, draw
from benchmarks.peers.tools import LmmsEval, Muster, Questions, VLMEvalKit
from benchmarks.peers.vllm_tools import RunBatch
from benchmarks.peers.watching import Mark, Watched, phases, watch
from muster.config import load_config
from muster.core import Completion, Failure, RequestKey
from muster.planning import plan
from muster.results.journal import Journal, Record
from muster.results.journal_read import read_entries
from muster.scheduling.simulator import Replica, lower_bound
from processes import gone

ONES = np.ones(12)
NOBODY = Questions(Path("nowhere"), 0, Path("nowhere"), 0, "")


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


def test_all_tools_are_asked_the_same(tmp_path: Path) -> None:
    """Else the race compares benchmarks. One picture is broken in all forms."""
    import base64

    import pyarrow.parquet as pq

    questions = demo_questions(tmp_path / "q", 4, broken=True)
    (planned,) = plan(load_config({"model": "demo", "tasks": str(questions.folder / "race.yaml")}))
    lmms_eval = pq.read_table(questions.folder / "lmms_eval" / "race.parquet").to_pylist()
    with (questions.folder / "vlmevalkit" / "race.tsv").open(newline="") as file:
        vlmevalkit = list(csv.DictReader(file, delimiter="\t"))
    batch = list(map(json.loads, (questions.folder / "vllm" / "batch.jsonl").read_text().splitlines()))
    pictures = []
    asked = zip(planned.samples, planned.requests(), lmms_eval, vlmevalkit, batch, strict=True)
    for sample, request, theirs, others, line in asked:
        (message,) = request.messages
        shown, said = line["body"]["messages"][0]["content"]
        assert message.text == theirs["question"] == others["question"] == said["text"]
        assert sample.id == theirs["id"] == others["index"] == line["custom_id"]
        assert line["body"]["max_tokens"] == request.generation.max_new_tokens
        assert sample.answer == theirs["answer"] == others["answer"]
        pictures.append((questions.folder / f"{sample.id}.png").read_bytes())
        assert pictures[-1] == theirs["picture"] == base64.b64decode(others["image"])
        assert pictures[-1] == base64.b64decode(shown["image_url"]["url"].partition(",")[2])
    assert [picture.startswith(b"\x89PNG") for picture in pictures] == [True, True, False, True]


def test_what_muster_saved_is_its_answers_and_not_its_failures(tmp_path: Path) -> None:
    assert (Muster().saved(tmp_path), Muster().last_answer(tmp_path)) == (0, None)
    with Journal.open(tmp_path / "journal.jsonl", "r") as journal:
        journal.append(Record(Completion(RequestKey("race", "0"), "7"), "w", 2.5, 1))
        failed = Completion(RequestKey("race", "1"), failure=Failure("sample", "X", "broken"))
        journal.append(Record(failed, "w", 0.0, 1))
    assert (Muster().saved(tmp_path), Muster().last_answer(tmp_path)) == (1, 2.5)


def test_what_lmms_eval_saved_is_read_from_its_caches_and_logs(tmp_path: Path) -> None:
    tool = LmmsEval(sys.executable)
    assert (tool.saved(tmp_path), tool.score(NOBODY, tmp_path)) == (0, None)
    (tmp_path / "cache" / "runs").mkdir(parents=True)
    for file, keys in (("runs/rank_0.db", "ab"), ("runs/rank_1.db", "cd"), ("cache.db", "abcd")):
        with contextlib.closing(sqlite3.connect(tmp_path / "cache" / file)) as db, db:
            db.execute("create table responses (cache_key text)")
            db.executemany("insert into responses values (?)", list(keys))
    assert tool.saved(tmp_path) == 4
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1_samples_race.jsonl").write_text("{}\n" * 5)
    (tmp_path / "logs" / "1_results.json").write_text(
        json.dumps({"results": {"race": {"accuracy,none": 0.5}}})
    )
    assert (tool.saved(tmp_path), tool.score(NOBODY, tmp_path)) == (5, 0.5)


def test_what_vlmevalkit_saved_is_counted_without_loading_a_pickle(tmp_path: Path) -> None:
    """Texts that repeat are references in a pickle, numbers in texts are none of its keys, and while it runs its keys
    are numpy's, of which the second and later ones have no number of their own."""
    import pickle

    tool = VLMEvalKit(sys.executable, tmp_path)
    run = tmp_path / "work" / "race" / "T1"
    run.mkdir(parents=True)
    assert (tool.saved(tmp_path), tool.score(NOBODY, tmp_path)) == (0, None)
    for rank in (0, 1):
        said = dict.fromkeys(range(rank, 600, 2), "7")
        (run / f"{rank}2_race.pkl").write_bytes(pickle.dumps(said))
    assert tool.saved(tmp_path) == 600
    for kept in (
        {np.int64(7): "7"},
        {np.int64(key): "7" for key in range(1150)},
        {"a": {"b": 1, "c": [2]}},
        {},
    ):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            (run / "02_race.pkl").write_bytes(pickle.dumps(kept, protocol))
            assert tool.saved(tmp_path) == 300 + len(kept)
    (run / "02_race.pkl").write_bytes(pickle.dumps(dict.fromkeys(range(300), "7")))
    (run / "12_race.pkl").write_bytes(b"")  # it is being written
    assert tool.saved(tmp_path) == 300
    (run / "status.json").write_text('{"datasets": {"race": {"metrics": {"Overall": 0.25}}}}')
    assert tool.score(NOBODY, tmp_path) == 0.25


def test_what_vllm_run_batch_saved_is_scored_by_us(tmp_path: Path) -> None:
    """It scores nothing itself. A line that failed or is half written is no answer."""
    questions = demo_questions(tmp_path / "q", 4)
    tool, output = RunBatch(sys.executable), tmp_path / "run"
    output.mkdir()
    assert (tool.saved(output), tool.score(questions, output)) == (0, None)
    right = [
        json.loads(line)["answer"] for line in (questions.folder / "race.jsonl").read_text().splitlines()
    ]
    said = [
        {"custom_id": "3", "response": {"status_code": 400, "body": None}, "error": {"message": "no"}}
    ] + [
        {"custom_id": str(place), "response": {"body": {"choices": [{"message": {"content": text}}]}}}
        for place, text in enumerate([right[0], right[1], "no digit"])
    ]
    (output / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in said) + '{"custom_id')
    assert tool.saved(output) == 3
    assert tool.score(questions, output) == pytest.approx(2 / 3)


def test_a_program_is_watched_and_killed_with_its_children_when_it_is_to_be(tmp_path: Path) -> None:
    """A child that survives goes on answering, and the restart is not one."""
    import psutil

    before = {each.pid for each in psutil.Process().children(recursive=True)}  # other tests' servers

    def started() -> list[psutil.Process]:
        return [each for each in psutil.Process().children(recursive=True) if each.pid not in before]

    def run(code: str, output: str, stop: Callable[[list[Mark]], bool] | None = None) -> Watched:
        device = {"RACE_DEVICE": "cpu"}
        return watch([sys.executable, "-c", code], device, tmp_path / output, lambda: 0, stop)

    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    found = run(child, "out", lambda _: len(started()) >= 2)
    assert found.status is None
    assert all(gone(each) for each in started())
    ended = run("raise SystemExit(3)", "out2")
    assert (ended.status, ended.first_saved) == (3, None)


def test_phases_add_up_and_a_process_that_waits_is_no_work() -> None:
    marks = [
        *(Mark(12.0, 1, "load"), Mark(13.0, 2, "load"), Mark(14.0, 1, "loaded")),
        *(Mark(15.0, 1, "ask"), Mark(16.0, 1, "answered"), Mark(16.0, 2, "ask")),
        *(Mark(16.5, 1, "meet"), Mark(20.0, 2, "answered"), Mark(20.0, 2, "meet"), Mark(21.0, 2, "met")),
        *(Mark(21.5, 1, "met"), Mark(22.0, 1, "meet")),  # killed in it
    ]
    found = phases(Watched(began=10.0, seconds=14.0, marks=marks))
    assert found == (2.0, 3.0, 5.0, 3.5, 0.5)
    assert sum(found) == 14.0
    assert phases(Watched(began=10.0, seconds=14.0, marks=marks), 21.0) == (2.0, 3.0, 6.0, 2.5, 0.5)
    assert phases(Watched(began=10.0, seconds=14.0)) is None


def test_the_random_model_counts_down_whoever_asks_in_whatever_batch(tmp_path: Path) -> None:
    """Its answers are of known lengths, or the race would compare tools that had different work."""
    race_model.write_model(tmp_path / "model", race_model.TINY)
    questions = kernel_questions(tmp_path / "q", tmp_path / "model", 6, longest=12)
    output = tmp_path / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        muster.evaluate(str(questions.model), [str(questions.folder / "race.yaml")], output=output)
    assert Muster().score(questions, output) == 1.0
    said = [entry.completion.usage.completion_tokens or 0 for entry in read_entries(output / "journal.jsonl")]
    assert sorted(said) == sorted(length + 1 for length in race_model.lengths(6, 12))  # and the end token


def test_the_race_of_muster_alone_fills_its_tables_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """With the other tools it takes their environments: `.ci/race`."""

    def tables() -> str:
        told = io.StringIO()
        words = ["x", "--quick", "--work", str(tmp_path), "--parts", "killed,broken"]
        with contextlib.redirect_stdout(told), patch("sys.argv", words):
            assert race.main() in (0, 1)
        return told.getvalue().partition("###")[2]

    first = tables()
    killed, broken = re.findall(r"^\| Muster .*$", first, re.MULTILINE)
    assert killed.split(" | ")[7:] == ["0", "1.0000 |"]
    assert int(killed.split(" | ")[2]) + int(killed.split(" | ")[4]) == 16  # what was kept isn't asked again
    assert broken.startswith("| Muster | 15 of 15 | ")
    assert broken.split(" | ")[3:] == ["3", "1.0000 |"]
    rows = (tmp_path / "rows.jsonl").read_text()
    assert len(rows.splitlines()) == 2
    assert tables() == first
    assert (tmp_path / "rows.jsonl").read_text() == rows


def test_a_part_that_there_is_not_is_refused() -> None:
    with (
        patch("sys.argv", ["x", "--parts", "demo,kernel"]),
        pytest.raises(SystemExit, match="no kernel, only"),
    ):
        race.main()
