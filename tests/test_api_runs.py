"""Whole runs against servers: a real one with the demo model, and ones that note what they are asked.

Guards against an evaluation through an API that needs torch or a GPU, answers that are paid for twice, keys in the run
folder, and runs that go on with another provider's answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import muster
from api_servers import Answer, Call, chat, dead_port, error, serving
from muster.core import ConfigurationError
from muster.demo import demo_model_path
from processes import DEADLINE, launched, start, write_benchmark
from small_launcher import hold_port
from test_light_imports import HEAVY, WITH_MAIN, loaded_by

KEY = "a-key-that-must-not-be-seen"


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` with the demo model; its base URL."""
    for module in ("fastapi", "uvicorn", "transformers"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"transformers serve needs {module}: pip install 'transformers[serving]'")
    with hold_port() as held:
        yield from _serve_for_real(tmp_path_factory, held.getsockname()[1])


def _serve_for_real(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[str]:
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(demo_model_path())]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen([*command, *options], stdout=output, stderr=output, env=env)
    try:
        limit = time.monotonic() + DEADLINE
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < limit, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_real_server_gives_the_scores_of_the_model(real_server: str, tmp_path: Path) -> None:
    """Accuracy of the demo model: a wrong image, prompt or length would show."""
    results = muster.evaluate(
        str(demo_model_path()),
        ["digits_read", "digits_choice"],
        backend="openai",
        model_args={"base_url": real_server, "price_input": 2.0, "price_output": 10.0},
        limit=40,
        output=tmp_path / "run",
    )
    for task in ("digits_read", "digits_choice"):
        assert results.tasks[task].samples.succeeded == 40
        assert (results.tasks[task].metrics["accuracy"].value or 0) >= 0.95
    rows = pq.read_table(tmp_path / "run" / "samples.parquet").to_pylist()
    assert {row["finish_reason"] for row in rows} == {"stop"}
    prompt, completion = (sum(row[name] for row in rows) for name in ("prompt_tokens", "tokens"))
    assert results.usage["cost"] == pytest.approx((2 * prompt + 10 * completion) / 1e6)
    assert prompt > 80 * 16, "a 32×32 image has 16 patches"


def echo(call: Call) -> Answer:
    """Sample s<i> is told by nothing but the text, so all get the same answer."""
    return chat("answer s0")


def run_options(url: str, task: Path, **args: object) -> list[str]:
    model_args = json.dumps({"base_url": url, **args})
    return ["--model", "m", "--backend", "openai", "--model-args", model_args, "--tasks", str(task)]


def test_a_run_needs_neither_torch_nor_a_gpu(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 5)
    with serving(echo) as server:
        arguments = [
            "run",
            *run_options(server.url, task),
            "--progress",
            "none",
            "--output",
            str(tmp_path / "run"),
        ]
        status, packages = loaded_by(WITH_MAIN, json.dumps(arguments))
    assert status == 0
    assert "aiohttp" in packages
    assert not packages & (HEAVY - {"pandas"})  # which pyarrow imports by itself where it is installed


def test_the_key_is_nowhere_in_the_run_folder_or_on_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With errors, in which servers quote what they were sent, and worker processes, which have logs."""
    monkeypatch.setenv("PRIVATE", KEY)
    task = write_benchmark(tmp_path, 20)
    quote = error(400, f"not with Authorization: Bearer {KEY}")
    with serving(lambda call: quote if call.number % 4 == 0 else echo(call)) as server:
        url = server.url.replace("http://", "http://ann:s3cret@")
        options = run_options(url, task, api_key_env="PRIVATE")
        run = start(tmp_path / "run", *options, "--replicas", "2")
        assert run.wait() == 3, run.stderr
        assert all(call.headers["authorization"] == f"Bearer {KEY}" for call in server.calls)
    said = [run.stdout.encode(), run.stderr.encode()]
    said += [file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()]
    assert len(said) > 5
    assert any(b"Bearer ***" in text for text in said), "the quote itself was kept"
    for text in said:
        assert KEY.encode() not in text
        assert b"s3cret" not in text


def test_ctrl_c_keeps_what_was_asked_and_paid_for(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 40)
    with serving(lambda _: Answer(chat("x").body, delay=0.2)) as server:
        options = [*run_options(server.url, task), "--max-in-flight", "4"]
        run = start(tmp_path / "run", *options)
        run.until_answered(8)
        run.process.send_signal(signal.SIGINT)
        assert run.wait() == 130, run.stderr
        asked = len(server.calls)
        assert run.answered() == asked < 40, "what was under way was waited for and kept"
        again = start(tmp_path / "run", *options)
        assert again.wait() == 0, again.stderr
        assert len(server.calls) == 40
    assert again.results().tasks["echo"].samples.succeeded == 40
    assert again.results().usage == {
        "prompt_tokens": 440.0,
        "completion_tokens": 120.0,
        "answers_without_usage": 0.0,
    }


SHORT_DRAIN = """
import functools, muster.run
muster.run.Job = functools.partial(muster.run.Job, drain_seconds=0.5)
"""


def test_ctrl_c_doesnt_wait_for_a_server_that_hangs(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 10)
    with serving(lambda call: Answer(hang=True) if call.number >= 4 else echo(call)) as server:
        arguments = [
            "run",
            *run_options(server.url, task),
            "--output",
            str(tmp_path / "run"),
            "--max-in-flight",
            "2",
        ]
        code = SHORT_DRAIN + "import json, sys" + WITH_MAIN
        process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(arguments)], stderr=subprocess.PIPE
        )
        limit = time.monotonic() + DEADLINE
        while len(server.calls) < 6:
            assert time.monotonic() < limit
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, said.decode()
    assert b"4 of 10 answers are kept" in said


@pytest.mark.parametrize("engine", [["--replicas", "2"], pytest.param("torchrun", marks=pytest.mark.slow)])
def test_several_processes_share_the_work(engine: list[str] | str, tmp_path: Path) -> None:
    """One is enough; but who starts several gets what they asked for."""
    task = write_benchmark(tmp_path, 40)
    launcher = launched(2) if engine == "torchrun" else ()
    with serving(lambda _: Answer(chat("x").body, delay=0.05)) as server:
        options = [*run_options(server.url, task), "--max-in-flight", "2"]
        run = start(
            tmp_path / "run", *options, *(engine if isinstance(engine, list) else ()), launcher=launcher
        )
        assert run.wait() == 0, run.stderr + run.logs()
        assert len(server.calls) == 40
    assert len({record.worker for record in run.journal()}) == 2


@pytest.mark.parametrize(
    ("script", "message"),
    [(error(401, "bad key"), "api_key_env"), (error(404, "no model m"), "--model is the name")],
)
def test_a_wrong_key_or_name_ends_the_run_with_status_2(script: Answer, message: str, tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 200)
    with serving(lambda _: script) as server:
        for more in ([], ["--replicas", "2"]):
            run = start(tmp_path / f"run{len(more)}", *run_options(server.url, task), *more)
            assert run.wait() == 2, run.stderr
            assert message in run.stderr
        assert len(server.calls) < 100


def evaluate(url: str, task: Path, output: Path, model: str = "m", **options: object) -> None:
    muster.evaluate(
        model, [str(task)], backend="openai", model_args={"base_url": url}, output=output, **options
    )


def test_a_run_goes_on_with_another_server_and_not_with_another_model(tmp_path: Path) -> None:
    task, output = write_benchmark(tmp_path, 4), tmp_path / "run"
    with serving(echo) as one, serving(echo) as two:
        evaluate(one.url, task, output, limit=2)
        evaluate(two.url, task, output, limit=4)
        assert (len(one.calls), len(two.calls)) == (2, 2)
        with pytest.raises(ConfigurationError, match=r"model[.]name"):
            evaluate(two.url, task, output, model="n", limit=4)
        with pytest.raises(ConfigurationError, match=r"model[.]hosts"):
            evaluate("https://api.example.com/v1", task, output, limit=4)


def test_a_servers_model_may_be_named_like_a_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`demo`, or a path that means something on the server only, is not looked for on this machine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    task = write_benchmark(tmp_path, 1)
    with serving(echo) as server:
        for number, model in enumerate(["demo", "weights", "/srv/models/x y.gguf"]):
            evaluate(server.url, task, tmp_path / f"run{number}", model=model)
            assert server.calls[number].body["model"] == model
            manifest = json.loads((tmp_path / f"run{number}" / "manifest.json").read_text())
            assert manifest["fingerprint"] == {"name": model, "backend": "openai", "args": {}}


def test_nobody_listening_is_said_at_once(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 5)
    with dead_port() as port, pytest.raises(ConfigurationError, match="no server can be reached"):
        evaluate(f"http://127.0.0.1:{port}/v1", task, tmp_path / "run")


def test_wrong_model_arguments_are_said_before_anything_is_written(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 5)
    with pytest.raises(ConfigurationError, match="did you mean 'base_url'"):
        muster.evaluate(
            "m", [str(task)], backend="openai", model_args={"baseurl": "x"}, output=tmp_path / "run"
        )
    assert not (tmp_path / "run").exists()
