"""What is shown of a run that goes on: in its terminal, in a log, by `muster status`, and to machines.

Guards against a time left that forgets the one long answer at the end, against a replica that hangs and isn't named,
against minutes without a line, and against two places that say two speeds.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from muster.cli.app import app
from muster.config import load_config
from muster.coordinator.progress import Progress, TaskProgress, WorkerProgress
from muster.coordinator.rate import Rate
from muster.coordinator.snapshot import snapshot_of
from muster.core import Completion, ConfigurationError, RequestKey, RunError
from muster.core.phases import Phase, advance, counted, phase, shown_by
from muster.report.display import Silent
from muster.report.displays import PlainDisplay
from muster.report.events import EventFile
from muster.report.live import phase_line, render, summary
from muster.report.page.build import report_of, write
from muster.report.page.page import page
from muster.report.page.pictures import Pictures
from muster.result_files.reading import read_runs
from muster.results.folder import RunFolder
from muster.results.intervals import mean_estimate
from muster.results.running_mean import RunningMean
from muster.results.snapshot import Snapshot, SnapshotFile, TaskSnapshot, WorkerSnapshot, load_snapshot
from muster.results.status import read_status
from muster.run import run
from processes import DEADLINE, fake, start, write_benchmark
from test_compare import made, right
from test_report import illustrated


def answered(progress: Progress, index: int, worker: str, now: float, seconds: float = 1.0) -> None:
    completion = Completion(progress.key_of(index), "x", seconds=seconds)
    progress.tasks[0].add(completion, {"accuracy": 1.0})
    progress.add(index, completion, worker, now)


def progress_of(costs: list[float], replicas: int) -> Progress:
    progress = Progress(
        [TaskProgress("t", len(costs), shown_score="accuracy")],
        key_of=lambda index: RequestKey("t", str(index), 0),
        cost_of=lambda index: costs[index],
        cost_left=sum(costs),
        ready_at=0.0,
    )
    for number in range(replicas):
        progress.worker(f"worker-{number}", WorkerProgress("node", "working", ready_at=0.0))
    return progress


def text_of(snapshot: Snapshot, height: int = 24) -> str:
    console = Console(file=io.StringIO(), width=140, height=height)
    console.print(render(snapshot, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# -- how fast, how long, how good


@pytest.mark.parametrize("kind", ["right or wrong", "between", "beyond"])
def test_a_running_interval_is_that_of_all_values_at_once(kind: str) -> None:
    draw = random.Random(7)
    values = {
        "right or wrong": [float(draw.random() < 0.9) for _ in range(200)],
        "between": [draw.random() for _ in range(200)],
        "beyond": [draw.gauss(5, 3) for _ in range(200)],
    }[kind]
    mean = RunningMean()
    for value in values:
        mean.add(value)
    whole = mean_estimate(values)
    assert mean.mean == pytest.approx(whole.value)
    assert whole.ci95 is not None
    assert mean.ci95 == pytest.approx(whole.ci95, rel=1e-6)


def test_nothing_is_claimed_of_one_value_and_certainty_of_none() -> None:
    mean = RunningMean()
    assert (mean.mean, mean.ci95) == (None, None)
    mean.add(1.0)
    assert mean.ci95 is None
    mean.add(1.0)
    low, high = mean.ci95 or (1.0, 1.0)
    assert low < 0.5
    assert high == 1.0


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = Rate()
    for second in range(100):
        rate.add(second + 0.5, cost=2.0)
    assert rate.recent(99.9) == (60, 120.0)
    assert rate.recent(129.9) == (30, 60.0)
    assert rate.recent(1000.0) == (0, 0.0)
    assert rate.per_second(99.9, since=0.0) == 1.0
    assert rate.per_second(99.9, since=89.9) == 6.0


def test_time_left_goes_by_what_requests_cost_and_knows_the_tail() -> None:
    costs = [100.0, *[1.0] * 99]
    progress = progress_of(costs, 2)
    for index in range(1, 51):  # worker-1 does the short ones while worker-0 has the long one
        answered(progress, index, "worker-1", now=index / 5)
    left = snapshot_of(progress, 10.0, 0.0, 1).time_left
    assert left == pytest.approx(149 / 5)  # 5 units a second, 149 to go, and not 50 requests at 5/s
    progress.workers["worker-0"].oldest = 0
    progress.workers["worker-0"].holding = 1
    for index in range(51, 100):
        answered(progress, index, "worker-1", now=10 + (index - 50) / 5)
    last = snapshot_of(progress, 19.8, 0.0, 1)
    assert last.done == 99
    assert last.time_left is not None
    assert last.time_left >= 100 / 5  # one request is left, and it is the long one


def test_requests_that_take_much_longer_and_slow_replicas_are_named() -> None:
    progress = progress_of([1.0] * 1000, 4)
    for index in range(400):
        answered(progress, index, f"worker-{index % 3}", now=60 + index / 10)
    for name, oldest, since in (("worker-0", 500, 99.0), ("worker-3", 501, 40.0)):
        progress.workers[name].oldest = oldest
        progress.workers[name].progressed = since
        progress.workers[name].holding = 1
    snapshot = snapshot_of(progress, 100.0, 0.0, 1)
    [straggler] = snapshot.stragglers
    assert (straggler.worker, straggler.sample, straggler.seconds) == ("worker-3", "t/501", 60.0)
    assert straggler.usual_s == 1.0
    assert [worker.name for worker in snapshot.workers if worker.slow] == ["worker-3"]
    shown = text_of(snapshot)
    assert "straggler: worker-3 has worked on t/501 for 1m00s" in shown
    assert "working, slow" in shown


def test_of_many_replicas_those_are_shown_that_need_a_look() -> None:
    workers = [WorkerSnapshot(f"worker-{n:02}", "node", "working", answered=5) for n in range(64)]
    workers[40] = WorkerSnapshot("worker-40", "node", "lost", restarts=2)
    tasks = [TaskSnapshot(f"task-{n}", 10, 10 if n < 30 else 3, score=0.5, scored=3) for n in range(40)]
    snapshot = Snapshot(0.0, 1, tasks, workers, 330, 400, 0, 1.0, 0)
    shown = text_of(snapshot, height=30)
    assert len(shown.splitlines()) <= 30
    assert "worker-40" in shown
    assert "63 working" in shown
    assert "more tasks" in shown
    assert "task-35" in shown  # it goes on; task-20 is done
    assert "task-20 " not in shown


def test_a_foreign_name_does_not_steer_the_terminal() -> None:
    worker = WorkerSnapshot("w\x1b[2J", "h\x1b]0;x\x07", "working", sample="t/\x1b[31m", waiting_s=1.0)
    snapshot = Snapshot(0.0, 1, [TaskSnapshot("t\x1b[2J", 2, 1)], [worker], 1, 2, 0, 1.0, 0)
    assert "\x1b" not in text_of(snapshot) + summary(snapshot)


# -- phases


class Collected(Silent):
    """Remembers phases."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        self.phases.append(phase)
        return super().phase(phase)


def test_a_phase_counts_what_is_done_far_below() -> None:
    display = Collected()
    with shown_by(display.phase), phase("outer", "rows", 4):
        assert list(counted(range(3))) == [0, 1, 2]
        with phase("inner"):
            advance(5)
        advance()
    outer, inner = display.phases
    assert (outer.done, inner.done) == (4, 5)
    assert phase_line(outer).startswith("outer: 4 of 4 rows (100 %)")
    advance()  # outside of any: nothing happens
    loading = Phase("downloading x", "bytes", 2_000_000, 500_000)
    assert phase_line(loading).startswith("downloading x: 0.5 of 2.0 MB (25 %)")


def test_short_phases_that_follow_one_another_are_not_silent() -> None:
    """Each of them is over before its first line would be due."""
    console = Console(file=io.StringIO(), width=100)
    display = PlainDisplay(console, every=0.3)
    limit = time.monotonic() + DEADLINE
    with shown_by(display.phase):
        while "reading" not in console.file.getvalue():  # type: ignore[attr-defined]
            assert time.monotonic() < limit
            with phase("reading", "rows"):
                advance()
                time.sleep(0.1)


def test_reading_comparing_and_writing_a_report_say_how_far_they_are(tmp_path: Path) -> None:
    plan = illustrated(6, 3, tmp_path)
    runs = [made(tmp_path / name, right, plan, model=f"org/{name}") for name in "ab"]
    display = Collected()
    with shown_by(display.phase):
        report = report_of(read_runs(runs), pictures=Pictures([plan]))
        write(page(report), tmp_path / "report.html")
    found = {phase.what: (phase.done, phase.total, phase.unit) for phase in display.phases}
    assert found[f"reading {runs[0]}"] == found[f"reading {runs[1]}"] == (0, None, "")
    assert found["comparing"] == (1, 1, "tasks")
    assert found["writing report.html"] == (6, None, "samples with pictures")


# -- a run as it is seen from outside


def options(tmp_path: Path, count: int = 6, **more: object) -> dict[str, object]:
    task = write_benchmark(tmp_path, count)
    return {
        "model": "m",
        "tasks": str(task),
        "backend": fake("Echo"),
        "engine": "inline",
        "output": tmp_path / "run",
        **more,
    }


def events_in(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_tell_a_run_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    run(load_config(options(tmp_path, events=path), env={}), Silent())
    events = events_in(path)
    assert all(isinstance(event["at"], float) for event in events)
    kinds = [event["event"] for event in events]
    assert kinds[0] == "begin"
    assert kinds[-1] == "end"
    assert {"begin", "phase", "progress", "score", "end"} == set(kinds)
    assert events[0]["folder"] == str(tmp_path / "run")
    ended = {event["what"]: event["done"] for event in events if event.get("state") == "ended"}
    assert ended["reading echo"] == ended["scoring echo"] == 6
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["done"], last["total"]) == (6, 6)
    assert events[-1]["exit_status"] == 0
    documented = (Path(__file__).parent.parent / "docs" / "events.md").read_text()
    for event in events:
        assert f"`{event['event']}`" in documented
        for name in event:
            assert f"`{name}`" in documented, name


def test_events_tell_how_a_run_failed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    config = load_config(options(tmp_path, events=path, backend=fake("Unloadable")), env={})
    with pytest.raises(RunError):
        run(config, Silent())
    last = events_in(path)[-1]
    assert (last["event"], last["exit_status"]) == ("end", 1)
    assert "could not be loaded" in str(last["error"])


def test_events_that_cannot_be_written_are_refused_or_cost_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigurationError, match=r"--events .*nowhere"):
        EventFile(tmp_path / "nowhere" / "events.jsonl")
    results = run(load_config(options(tmp_path, events="/dev/full"), env={}), Silent())
    assert results.complete
    assert capsys.readouterr().err.count("no further events") == 1


def test_status_says_what_the_run_says_of_itself(tmp_path: Path) -> None:
    """The progress line said 20/s and `muster status` 12/s, and nobody said which worker was being restarted."""
    run(load_config(options(tmp_path), env={}), Silent())
    folder = RunFolder(tmp_path / "run")
    kept = load_snapshot(folder.progress)
    assert kept is not None
    assert (kept.done, kept.total, kept.attempt) == (6, 6, 1)
    straggling = WorkerSnapshot("worker-1", "node", "lost", restarts=3, holding=1, sample="echo/4")
    told = Snapshot(
        0.0, 1, kept.tasks, [*kept.workers, straggling], 4, 6, 0, rate=7.5, tokens=0, time_left=9.0
    )
    SnapshotFile(folder.progress, lambda: told).save()
    folder.logs.mkdir(exist_ok=True)
    folder.log("worker-1").write_text("killed")
    with folder.lock():
        status = read_status(folder)
        shown = CliRunner().invoke(app, ["status", str(folder.root)]).output
    assert (status.state, status.rate, status.time_left) == ("running", 7.5, 9.0)
    lost = status.workers["worker-1"]
    assert (lost.state, lost.restarts, lost.sample) == ("lost", 3, "echo/4")
    assert lost.log == str(folder.log("worker-1"))
    assert "7.5/s, 9s left" in shown
    assert "lost" in shown
    ended = read_status(folder).workers
    assert (ended["worker-0"].state, ended["worker-1"].state) == ("left", "lost")  # nobody works any more
    folder.progress.write_text("{}")  # of a release with another form
    assert read_status(folder).workers.keys() == {"worker-0"}


def test_following_ends_with_the_run_and_its_exit_status(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 40)
    words = ["--model", "m", "--backend", fake("Waiting"), "--tasks", str(task), "--replicas", "2"]
    gate = f"gate={tmp_path / 'gate'}"
    running = start(tmp_path / "run", *words, "--progress", "none", "--model-args", gate)
    running.until(lambda: (tmp_path / "run" / "progress.json").exists(), "its progress")
    command = [sys.executable, "-m", "muster", "status", str(tmp_path / "run"), "--follow"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert follower.stdout is not None
    assert "0/40 answered" in follower.stdout.readline()  # at once, and from now on it follows
    (tmp_path / "gate").touch()
    assert running.wait() == 0
    said, wrong = follower.communicate(timeout=DEADLINE)
    assert follower.returncode == 0, wrong
    assert "40/40 answered" in said
    assert "complete, 40/40 finished" in said


def test_starts_of_a_worker_add_up() -> None:
    progress = Progress([TaskProgress("t", 1)])
    progress.worker("worker-0", WorkerProgress("node", "loading"))
    progress.worker("worker-0", WorkerProgress("node", "loading", restarts=1))
    progress.worker("worker-0", WorkerProgress("node", "loading", restarts=1))
    assert progress.workers["worker-0"].restarts == 2
