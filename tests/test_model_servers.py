"""Backends that start a server per replica, against a stand-in server: a real process that misbehaves as it is told.

Guards against runs that wait for ever for a server that will never answer, servers that outlive their run and hold its
GPUs, keys that everybody on the machine can read, and a server's death that ends the run.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from muster.core import Completion, ConfigurationError, LostMemberError, ReplicaError
from muster.models.keeper import Keeper
from muster.models.protocol import ModelSettings
from muster.models.registry import check_settings, load_backend
from muster.models.servers import SglangServerModel, VllmServerModel, server
from muster.models.servers.backend import ServerModel
from muster.models.servers.command import Sglang, Vllm
from muster.models.servers.options import server_options, words
from processes import start
from tiny_requests import ListStream, answers, ask, noise

SERVER = Path(__file__).parent / "inference_server.py"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "starts.jsonl"


@pytest.fixture
def serve(record: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServerModel]]:
    """Makes models with a stand-in server; ends them. What it started must be gone then."""
    models: list[ServerModel] = []
    monkeypatch.setattr(server, "Keeper", lambda **more: Keeper(grace=0.3, **more))

    def make(*server_args: str, kind: type[ServerModel] = VllmServerModel, **more: Any) -> ServerModel:
        args: dict[str, Any] = {
            "command": [sys.executable, str(SERVER)],
            "server_args": ["--record", str(record), *server_args],
        }
        settings = {name: more.pop(name) for name in ("request_timeout", "max_in_flight") if name in more}
        models.append(kind(ModelSettings("the/model", {**args, **more}, **settings)))
        return models[-1]

    yield make
    for each in models:
        each.close()
    assert not [pid for start in starts(record) for pid in start["pids"] if alive(pid)]


def starts(record: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("kind", [VllmServerModel, SglangServerModel])
def test_a_server_is_started_asked_and_ended(
    serve: Callable[..., ServerModel], record: Path, kind: type[ServerModel], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    model = serve("--slow", "0.5", "--child", kind=kind)
    got = answers(model, [ask(str(index), "?", [noise(index)]) for index in range(20)])
    assert {each.text for each in got.values()} == {"model answers"}
    assert got["0"].usage.completion_tokens == 2
    (started,) = starts(record)
    assert "--port" in started["words"]
    key = model._client.server.key  # type: ignore[union-attr]
    assert len(key) > 20
    for pid in started["pids"]:
        assert key not in " ".join(psutil.Process(pid).cmdline())
    assert "serving with the key ***" in caplog.text  # its log is the worker's log
    assert key not in caplog.text


def test_a_server_sees_no_ranks(
    serve: Callable[..., ServerModel], record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    serve()
    assert [start["ranks"] for start in starts(record)] == [False]


def test_a_server_that_is_never_ready_is_given_up_with_its_last_words(
    serve: Callable[..., ServerModel], record: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"not ready within 1 s .*\n.*serving with the key \*\*\*"):
        serve("--never", "--stubborn", "--child", ready_timeout=1.0)
    assert len(starts(record)) == 1


def test_a_server_that_ends_at_once_is_a_configuration_error(serve: Callable[..., ServerModel]) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)ended with status 3.*no such quantization"):
        serve("--fails", "ValueError: no such quantization")


def test_a_server_that_is_killed_while_it_loads_may_be_started_again(
    serve: Callable[..., ServerModel],
) -> None:
    with pytest.raises(LostMemberError, match="killed by SIGKILL"):
        serve("--killed")


def test_a_port_that_somebody_took_meanwhile_is_replaced(
    serve: Callable[..., ServerModel], record: Path
) -> None:
    model = serve("--fails-once", "OSError: [Errno 98] Address already in use")
    assert answers(model, [ask("a", "?")])["a"].succeeded
    assert len(starts(record)) == 2


def test_when_the_server_dies_the_replica_breaks_and_the_next_call_starts_another(
    serve: Callable[..., ServerModel], record: Path
) -> None:
    model = serve("--die-after", "10", "--child", max_in_flight=4, max_retries=0)
    given: list[Completion] = []
    with pytest.raises(ReplicaError, match=r"(?s)killed by SIGKILL.*out of luck"):
        given.extend(model.generate(ListStream(ask(str(index), "?") for index in range(50))))
    assert len(given) <= 10
    assert all(each.succeeded for each in given)  # what was in flight is nobody's failure
    assert not [pid for pid in starts(record)[0]["pids"] if alive(pid)]
    assert answers(model, [ask("again", "?")])["again"].succeeded


def test_a_server_that_no_longer_answers_breaks_the_replica(serve: Callable[..., ServerModel]) -> None:
    model = serve("--hang-after", "0", "--stubborn", max_in_flight=8, request_timeout=2.0, max_retries=0)
    with pytest.raises(ReplicaError, match="is stuck"):
        list(model.generate(ListStream(ask(str(index), "?") for index in range(50))))
    assert answers(model, [ask("again", "?")])["again"].succeeded


def test_a_killed_worker_leaves_no_server_behind_and_the_run_completes(tmp_path: Path, record: Path) -> None:
    args = {
        "command": [sys.executable, str(SERVER)],
        "server_args": ["--record", str(record), "--seconds", "0.05", "--child"],
    }
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    run = start(
        tmp_path / "run",
        *("--backend", "vllm-server", "--model", "demo", "--tasks", "digits_read", "--limit", "200"),
        *("--model-args", json.dumps(args), "--replicas", "2", "--max-in-flight", "2", "--progress", "plain"),
        env={"TMPDIR": str(temporary)},
    )
    run.until_answered(20)
    next(iter(run.workers().values())).send_signal(signal.SIGKILL)
    assert run.wait() == 0, run.stderr + run.logs()
    assert len({record.completion.key for record in run.journal()}) == 200
    assert len(starts(record)) >= 2
    assert not [pid for each in starts(record) for pid in each["pids"] if alive(pid)]
    assert not list(temporary.glob("muster-server-*")), "files with the servers' keys"
    assert "serving with the key ***" in run.logs()


def test_a_killed_keeper_does_not_keep_the_server(serve: Callable[..., ServerModel], record: Path) -> None:
    """Nobody else ended the server, for whose end the worker then waited for ever."""
    model = serve("--child")
    assert model._client is not None
    keeper = model._client.server._keeper.pid
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    model.close()
    assert not [pid for pid in starts(record)[0]["pids"] if alive(pid)]


# What is started


def test_vllm_is_started_on_the_replicas_gpus_for_one_model(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    options = server_options({"python": str(tmp_path / "bin" / "python"), "server_args": {"max_num_seqs": 8}})
    settings = ModelSettings("m", gpus_per_replica=4, seed=7, trust_remote_code=True)
    command = Vllm().command(settings, options, 4321, "secret")
    line = " ".join(command.words)
    assert line.startswith(f"{program} serve m --host 127.0.0.1 --port 4321 --served-model-name model")
    assert "--tensor-parallel-size 4" in line
    assert "--seed 7" in line
    assert "--trust-remote-code" in line
    assert line.endswith("--max-num-seqs 8")
    assert "secret" not in line
    assert command.env == {"VLLM_API_KEY": "secret"}
    assert "secret" not in repr(command)


def test_sglang_is_started_with_its_key_in_a_file() -> None:
    command = Sglang().command(ModelSettings("m", gpus_per_replica=2), server_options({}), 4321, "secret")
    line = " ".join(command.words)
    assert "-m sglang.launch_server --model-path m --host 127.0.0.1 --port 4321" in line
    assert "--tp-size 2" in line
    assert "secret" not in line
    assert command.files == {"config.yaml": "api-key: secret\n"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--x 1 --limit-mm '{\"image\": 2}'", ["--x", "1", "--limit-mm", '{"image": 2}']),
        (["--x", "a b"], ["--x", "a b"]),
        (
            {
                "max_num_seqs": 8,
                "enforce_eager": True,
                "prefix_caching": False,
                "x": None,
                "mm": {"image": 1},
            },
            ["--max-num-seqs", "8", "--enforce-eager", "--no-prefix-caching", "--mm", '{"image": 1}'],
        ),
    ],
)
def test_arguments_for_the_server_in_any_form(given: Any, expected: list[str]) -> None:
    assert words(given) == expected


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"base_url": "http://x/v1"}, "--backend openai"),
        ({"tensor_parallel_size": 2}, "--gpus-per-replica"),
        ({"server_args": "--port 80"}, "--port is decided by Muster"),
        ({"server_args": {"api_key": "k"}}, "--api-key is decided by Muster"),
        ({"command": "a", "python": "b"}, "not both"),
        ({"ready_timeout": 0}, "ready_timeout"),
        ({"max_model_len": 5}, "no such argument"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        check_settings(load_backend("vllm-server"), ModelSettings("m", args))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"command": "/nowhere/vllm"}, "no such program"),
        ({"python": "/nowhere/bin/python"}, "there is no /nowhere/bin/vllm"),
    ],
)
def test_a_program_that_is_not_there_is_said(args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        VllmServerModel(ModelSettings("m", args))
