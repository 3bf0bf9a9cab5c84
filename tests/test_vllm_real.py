"""The vllm backends against a real vLLM on a CPU, in the environment that `.ci/vllm` makes; skipped elsewhere.

Guards against what no stand-in shows: answers that differ from the transformers backend's, an engine that takes the
launcher's ranks for its own, processes that stay behind.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest

import processes
from muster.core import JSON, RequestKey
from muster.core.likelihood import from_text
from muster.demo import demo_model_path
from muster.models.protocol import ModelSettings
from processes import Run, command_of, gone, start, torchrun, with_fake_toolkit
from tiny_requests import answers, likelihood_requests

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="no vLLM here: see .ci/vllm"),
]

CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_HOST_IP": "127.0.0.1"}
ENGINE: dict[str, JSON] = {"dtype": "float32", "max_model_len": 256, "max_num_seqs": 4, "enforce_eager": True}
SERVER = "--dtype float32 --max-model-len 256 --max-num-seqs 4 --enforce-eager"
TASKS = ["digits_read", "digits_choice"]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine needs half a minute to start, and longer on a busy machine."""
    monkeypatch.setattr(processes, "DEADLINE", 600.0)


def run(
    folder: Path, *more: str, launcher: list[str] | None = None, args: object = None, limit: int = 40
) -> Run:
    given = ["--model", "demo", "--tasks", ",".join(TASKS), "--limit", str(limit), "--progress", "plain"]
    if args is not None:
        given += ["--model-args", json.dumps(args)]
    return start(folder, *given, *more, launcher=launcher or (), env=CPU)


Texts: TypeAlias = dict[RequestKey, str | None]


def texts(run: Run) -> Texts:
    assert run.wait() == 0, run.stderr + run.logs()
    assert run.results().complete
    return {record.completion.key: record.completion.text for record in run.journal()}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    """The transformers backend's answers."""
    return texts(run(tmp_path_factory.mktemp("transformers") / "run"))


def test_answers_are_those_of_the_transformers_backend(expected: Texts, tmp_path: Path) -> None:
    got = texts(run(tmp_path / "run", "--backend", "vllm", args=ENGINE))
    assert got.keys() == expected.keys()
    same = sum(got[key] == expected[key] for key in expected)
    assert same >= 0.98 * len(expected)  # other kernels round differently: now and then a token is another


def test_likelihoods_are_those_of_the_transformers_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request twice, since a prompt that is in the engine's caches has no probabilities of its own there."""
    from muster.models.transformers import TransformersModel
    from muster.models.vllm.backend import VllmModel

    for name, value in CPU.items():
        monkeypatch.setenv(name, value)
    asked = likelihood_requests()
    demo = str(demo_model_path())
    expected = answers(TransformersModel(ModelSettings(demo, {"device": "cpu", "dtype": "float32"})), asked)
    again = [replace(each, key=each.key._replace(repeat=1)) for each in asked]
    model = VllmModel(ModelSettings(demo, ENGINE, most_images=1))
    try:
        for round_ in (asked, again):
            got = answers(model, round_)
            for name, completion in got.items():
                theirs = expected[name]
                assert completion.usage.completion_tokens == theirs.usage.completion_tokens
                pairs = zip(from_text(completion.text or ""), from_text(theirs.text or ""), strict=True)
                for ours, other in pairs:
                    assert ours.log_probability == pytest.approx(other.log_probability, rel=1e-4)
                    assert (ours.tokens, ours.greedy) == (other.tokens, other.greedy)
    finally:
        model.close()


def test_a_toolkits_task_that_compares_options_has_the_same_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ["--model", "demo", "--tasks", "lmms-eval:likelihood,lmms-eval:colours", "--progress", "none"]
    toolkit = ["--lmms-eval-python", str(with_fake_toolkit(tmp_path, monkeypatch))]
    with_vllm = ["--backend", "vllm", "--model-args", json.dumps(ENGINE)]
    scores = []
    for name, backend in (("vllm", with_vllm), ("transformers", ["--model-args", "device=cpu"])):
        going = start(tmp_path / name, *tasks, *toolkit, *backend, env=CPU)
        assert going.wait() == 0, going.stderr + going.logs()
        scores.append({task: dict(found.metrics) for task, found in going.results().tasks.items()})
    assert scores[0] == scores[1]


def test_torchruns_ranks_have_an_engine_each(tmp_path: Path) -> None:
    going = run(
        tmp_path / "run", "--backend", "vllm", "--repeats", "10", launcher=torchrun(2), args=ENGINE, limit=200
    )
    texts(going)
    answered = Counter(record.completion.key for record in going.journal())
    assert set(answered.values()) == {1}
    assert len(answered) == 4000
    assert {record.worker for record in going.journal()} == {"worker-0", "worker-1"}


def test_a_replica_may_be_two_processes_on_a_cpu(expected: Texts, tmp_path: Path) -> None:
    got = texts(
        run(
            tmp_path / "run",
            *("--backend", "vllm", "--gpus-per-replica", "2", "--parallelism", "tensor"),
            args=ENGINE,
        )
    )
    assert sum(got[key] == expected[key] for key in expected) >= 0.95 * len(expected)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray here")
def test_a_ray_actor_has_an_engine(expected: Texts, tmp_path: Path) -> None:
    got = texts(run(tmp_path / "run", "--backend", "vllm", "--engine", "ray", "--replicas", "1", args=ENGINE))
    assert sum(got[key] == expected[key] for key in expected) >= 0.98 * len(expected)


def test_a_killed_engine_and_a_killed_worker_are_replaced(tmp_path: Path) -> None:
    going = run(tmp_path / "run", "--backend", "vllm", "--repeats", "10", args=ENGINE, limit=100)

    def engines() -> list[psutil.Process]:
        below = psutil.Process(going.process.pid).children(recursive=True)
        return [each for each in below if "EngineCore" in " ".join(command_of(each))]

    going.until_answered(100)
    engines()[0].kill()
    going.until_answered(800)
    second = engines()[0]
    next(iter(going.workers().values())).kill()
    assert going.wait() == 0, going.stderr + going.logs()
    assert len({record.completion.key for record in going.journal()}) == 2000
    assert gone(second)


def test_a_server_is_started_and_asked(expected: Texts, tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "vllm"
    args = {"command": str(program), "server_args": SERVER}
    going = run(tmp_path / "run", "--backend", "vllm-server", args=args)
    got = texts(going)
    assert sum(got[key] == expected[key] for key in expected) >= 0.98 * len(expected)
    assert not [
        each for each in psutil.process_iter(["cmdline"]) if str(program) in (each.info["cmdline"] or [])
    ]
    assert "Application startup complete" in going.logs()
