"""What breaks, and what must not be lost: replicas of the local and the inline engine, provoked for real."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from muster.results.results import Results
from processes import DEADLINE, Run, fake, start, until_gone, write_benchmark


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return write_benchmark(tmp_path / "bench", 200)


def arguments(task: Path, backend: str, **options: object) -> list[str]:
    given = ["--model", "demo", "--tasks", str(task), "--backend", fake(backend), "--progress", "plain"]
    for name, value in options.items():
        given += [f"--{name.replace('_', '-')}", str(value)]
    return given


def assert_complete(run: Run, count: int = 200, errored: int = 0) -> None:
    """Nothing lost, nothing twice, and the score that an undisturbed run has."""
    results = run.results()
    task = results.tasks["echo"]
    assert results.complete, run.logs()
    assert (task.samples.requested, task.samples.succeeded, task.samples.errored) == (
        count,
        count - errored,
        errored,
    )
    assert task.metrics["accuracy"].value == 1.0
    answered = Counter(record.completion.key for record in run.journal())
    assert len(answered) == count
    assert set(answered.values()) == {1}


def test_kill_9_of_the_coordinator_leaves_no_process_and_resumes_with_another_engine(
    task: Path, tmp_path: Path
) -> None:
    run = start(tmp_path / "run", *arguments(task, "Echo", replicas=3, model_args="seconds=0.02"))
    run.until_answered(60)
    workers = list(run.workers().values())
    workers[0].send_signal(signal.SIGSTOP)  # it can't notice that nobody is there any more
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    for worker in workers:
        until_gone(worker)  # raises when one outlives its coordinator
    kept = run.answered()
    again = start(
        tmp_path / "run",
        *arguments(task, "Echo", schedule="strided", engine="inline", model_args="seconds=0.02"),
    )
    assert again.wait() == 0, again.stderr
    assert f"{kept} answers are there" in again.stderr
    assert_complete(again)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("replicas", [1, 2])
def test_signals_drain_and_the_run_resumes(
    task: Path, tmp_path: Path, number: signal.Signals, status: int, replicas: int
) -> None:
    run = start(tmp_path / "run", *arguments(task, "Echo", replicas=replicas, model_args="seconds=0.03"))
    run.until_answered(20)
    run.process.send_signal(number)
    assert run.wait() == status, run.stderr
    assert "To go on, run the same" in run.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["attempts"][-1]["exit_status"] == status
    again = start(tmp_path / "run", *arguments(task, "Echo", replicas=3, model_args="seconds=0.03"))
    assert again.wait() == 0, again.stderr
    assert_complete(again)


def test_a_hung_replica_is_named_replaced_and_leaves_its_stack(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run",
        *arguments(
            task,
            "Hangs",
            replicas=2,
            request_timeout=2,
            model_args=f"seconds=0.01,hang=s77,once={tmp_path}/hung",
        ),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert "while working on echo/s77" in run.stderr
    assert "in touch" in run.logs()  # the stack shows where


def test_a_silent_replica_is_replaced(task: Path, tmp_path: Path) -> None:
    """SIGSTOP: no heartbeat, no closed connection."""
    run = start(
        tmp_path / "run",
        *arguments(
            task,
            "Hangs",
            replicas=2,
            worker_timeout=2,
            model_args=f"seconds=0.01,hang=s77,once={tmp_path}/hung,hard=true",
        ),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    assert "silent for" in run.stderr


def test_a_hung_model_ends_an_inline_run(task: Path, tmp_path: Path) -> None:
    options = arguments(
        task, "Hangs", engine="inline", request_timeout=2, model_args=f"hang=s77,once={tmp_path}/hung"
    )
    run = start(tmp_path / "run", *options)
    assert run.wait() == 1
    assert "echo/s77" in run.stderr
    assert "in touch" in run.logs()
    again = start(tmp_path / "run", *options)
    assert again.wait() == 0, again.stderr
    assert_complete(again)


def test_a_worker_ten_times_slower_doesnt_hold_up_the_others(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run",
        *arguments(task, "SlowRank", replicas=4, model_args=f"seconds=0.01,slow={tmp_path}/slow"),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)
    answers = Counter(record.worker for record in run.journal())
    assert min(answers.values()) < 200 / 4 / 2  # a static partition would have given it its full quarter


def test_a_poisonous_sample_is_given_up_and_the_rest_is_answered(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run", *arguments(task, "Poison", replicas=2, model_args="poison=s50,seconds=0.005")
    )
    assert run.wait() == 3, run.stderr
    assert_complete(run, errored=1)
    (failed,) = [record.completion for record in run.journal() if record.completion.failure]
    assert failed.key.sample_id == "s50"
    assert failed.failure is not None
    assert failed.failure.type == "WorkerLost"


def test_failures_within_max_failures_are_tolerated(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run",
        *arguments(task, "Forgetful", engine="inline", model_args="forgets=s50", max_failures=1),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run, errored=1)


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_replica_that_breaks_once_starts_again(task: Path, tmp_path: Path, engine: str) -> None:
    run = start(
        tmp_path / "run",
        *arguments(task, "Raises", engine=engine, model_args=f"raises=s9,once={tmp_path}/once"),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run)


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_sample_that_always_breaks_the_replica_is_given_up(task: Path, tmp_path: Path, engine: str) -> None:
    run = start(tmp_path / "run", *arguments(task, "Raises", engine=engine, model_args="raises=s9"))
    assert run.wait() == 3, run.stderr
    assert_complete(run, errored=1)


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_a_model_that_cant_be_loaded_ends_the_run_with_its_reason(
    task: Path, tmp_path: Path, engine: str
) -> None:
    run = start(tmp_path / "run", *arguments(task, "Unloadable", engine=engine))
    assert run.wait() == 1
    assert "the weights are broken" in run.stderr


def test_a_full_disk_stops_the_run_and_keeps_what_is_there(task: Path, tmp_path: Path) -> None:
    """A file size limit is the full disk that needs no root."""

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    for replicas in (1, 2):
        run = start(
            tmp_path / f"run{replicas}",
            *arguments(task, "Echo", replicas=replicas, model_args="seconds=0.005"),
            preexec=small,
        )
        assert run.wait() == 1
        assert "cannot write the journal" in run.stderr
        assert run.answered() > 20
        again = start(run.output, *arguments(task, "Echo", model_args="seconds=0.005"))
        assert again.wait() == 0, again.stderr
        assert_complete(again)


def test_two_runs_in_one_folder_at_once_are_refused(task: Path, tmp_path: Path) -> None:
    first = start(tmp_path / "run", *arguments(task, "Echo", model_args="seconds=0.02"))
    first.until_answered(5)
    second = start(tmp_path / "run", *arguments(task, "Echo"))
    assert second.wait() == 2
    assert "another run is working in" in second.stderr
    assert first.wait() == 0
    assert_complete(first)


def test_more_replicas_than_samples(tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 2), "Echo", replicas=5))
    assert run.wait() == 0, run.stderr
    assert_complete(run, 2)


def test_an_empty_benchmark_is_refused_before_the_model_loads(tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 0), "Unloadable"))
    assert run.wait() == 2
    assert "task echo has no samples" in run.stderr


def test_text_that_no_encoding_carries_is_the_same_on_every_engine(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 4)
    texts = []
    for engine in ("inline", "local"):
        run = start(tmp_path / engine, *arguments(task, "Surrogates", engine=engine))
        assert run.wait() == 0, run.stderr
        texts.append({record.completion.text for record in run.journal()})
    assert texts == [{"a\ufffd b\U0001f600"}] * 2


ENGINES = pytest.mark.parametrize("engine", ["inline", "local"])


@ENGINES
def test_numbers_of_numpy_are_numbers(tmp_path: Path, engine: str) -> None:
    """They can't be encoded as they are, and once were answers that got lost."""
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 9), "NumpyTokens", engine=engine))
    assert run.wait() == 0, run.stderr
    assert_complete(run, 9)
    assert {record.completion.usage.completion_tokens for record in run.journal()} == {4}


@ENGINES
def test_what_is_no_completion_breaks_the_replica_and_is_explained(tmp_path: Path, engine: str) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 9), "NoCompletion", engine=engine))
    assert run.wait() == 1
    assert "is no completion" in run.stderr


@ENGINES
def test_failures_that_no_encoding_carries_are_recorded(tmp_path: Path, engine: str) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 9), "BadFailure", engine=engine))
    assert run.wait() == 3, run.stderr
    assert run.results().tasks["echo"].samples.errored == 9


@ENGINES
def test_a_backend_without_slots_is_refused(tmp_path: Path, engine: str) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 9), "NoSlots", engine=engine))
    assert run.wait() == 1
    assert "slots must be at least 1" in run.stderr


@ENGINES
def test_a_configuration_that_the_backend_refuses_is_exit_2(tmp_path: Path, engine: str) -> None:
    run = start(tmp_path / "run", *arguments(write_benchmark(tmp_path, 9), "Misconfigured", engine=engine))
    assert run.wait() == 2
    assert run.stderr.count("muster: dtype=float3 is no dtype") == 1
    assert "Traceback" not in run.stderr


def test_workers_that_are_told_to_stop_are_replaced(task: Path, tmp_path: Path) -> None:
    """SIGTERM to the workers alone: they leave in good order, and the run must not wait for them for ever."""
    run = start(tmp_path / "run", *arguments(task, "Echo", replicas=2, model_args="seconds=0.02"))
    run.until_answered(30)
    for worker in run.workers().values():
        worker.send_signal(signal.SIGTERM)
    assert run.wait() == 0, run.stderr
    assert_complete(run)


def test_a_worker_that_cant_be_started_again_is_given_up(task: Path, tmp_path: Path) -> None:
    run = start(tmp_path / "run", *arguments(task, "Echo", replicas=2, model_args="seconds=0.02"))
    run.until_answered(30)
    shutil.rmtree(tmp_path / "run" / "logs")
    (tmp_path / "run" / "logs").write_text("not a folder")
    for worker in run.workers().values():
        worker.send_signal(signal.SIGKILL)
    assert run.wait() == 1
    assert "could not be started" in run.stderr


def test_a_hung_replica_is_noticed_while_the_others_are_busy(tmp_path: Path) -> None:
    """Answers that come all the time once kept the coordinator from looking after the silent."""
    task = write_benchmark(tmp_path, 1500)
    options = {
        "replicas": 2,
        "request_timeout": 1,
        "model_args": f"seconds=0.01,hang=s7,once={tmp_path}/hung",
    }
    run = start(tmp_path / "run", *arguments(task, "Hangs", **options))
    run.until(lambda: "in touch" in run.logs(), "the stack of the hung replica")
    assert run.answered() < 1490
    assert run.wait() == 0, run.stderr
    assert_complete(run, 1500)


def test_what_a_model_started_ends_with_its_worker(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run", *arguments(task, "Spawns", replicas=1, engine="local", model_args="seconds=0.02")
    )
    run.until_answered(10)
    (worker,) = run.workers().values()
    (grandchild,) = worker.children()
    worker.send_signal(signal.SIGKILL)
    until_gone(grandchild)
    assert run.wait() == 0, run.stderr
    assert_complete(run)


@pytest.mark.parametrize(("engine", "status"), [("inline", 143), ("local", 143)])
def test_sigterm_while_the_model_loads_ends_at_once(
    task: Path, tmp_path: Path, engine: str, status: int
) -> None:
    run = start(tmp_path / "run", *arguments(task, "Echo", engine=engine, model_args="load_seconds=300"))
    run.until((tmp_path / "run" / "manifest.json").exists, "the start")
    time.sleep(1.5)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == status, run.stderr


def test_a_load_that_never_ends_is_given_up(task: Path, tmp_path: Path) -> None:
    run = start(
        tmp_path / "run", *arguments(task, "Echo", replicas=2, model_args="load_seconds=300", load_timeout=1)
    )
    assert run.wait() == 1
    assert "not loaded within 1 s" in run.stderr


@pytest.mark.parametrize("where", ["thread", "event loop"])
def test_from_a_notebook_or_a_thread(tmp_path: Path, where: str) -> None:
    task = write_benchmark(tmp_path, 20)
    output = tmp_path / "run"
    call = f"muster.evaluate('demo', {str(task)!r}, backend={fake('Echo')!r}, replicas=2, output={str(output)!r})"
    inside = {
        "thread": f"t = threading.Thread(target=lambda: {call}); t.start(); t.join()",
        "event loop": f"async def main(): {call}\nasyncio.run(main())",
    }[where]
    code = f"import asyncio, threading, muster\n{inside}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Results.load(output / "results.json").complete, done.stderr


@pytest.mark.parametrize("count", [9, 16])
def test_a_failed_inline_model_leaves_no_thread_that_claims(tmp_path: Path, count: int) -> None:
    """The prefetching thread of the failed `generate` waits for work when the model starts again."""
    run = start(
        tmp_path / "run",
        *arguments(
            write_benchmark(tmp_path / "bench", count),
            "PrefetchingRaises",
            request_timeout=15,
            model_args=f"seconds=0.3,raises=s0,once={tmp_path}/raised",
        ),
    )
    assert run.wait() == 0, run.stderr
    assert_complete(run, count)
