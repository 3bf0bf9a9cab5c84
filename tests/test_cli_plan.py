"""`muster plan`, as people type it.

Guards against a command that needs a GPU, torch or the weights to say what they are needed for, against mistakes that
are noticed late, and against tables that leave out the one line that matters: what to run.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.cli.plan import find_cluster, parse_image_size, parse_memory
from muster.core import ConfigurationError
from muster.sizing import gpus as gpus_module
from muster.sizing.fit import Gpus
from processes import run_muster, start
from sizing_models import LLAVA_NEXT_34B, llava_next_34b_tensors, write_model

GIB = 2**30


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("34b"), LLAVA_NEXT_34B, llava_next_34b_tensors(), shards=15)


def muster(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run_muster(*map(str, arguments))


def planned(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The plan as JSON; in this process, since every other takes half a second to start."""
    done = CliRunner().invoke(app, ["plan", *map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    plan: dict[str, Any] = json.loads(done.stdout)
    return plan


def test_the_34b_model_on_eight_gpus_of_40_gib(llava: Path) -> None:
    done = muster("plan", "--model", llava, "--gpus", 8, "--gpu-memory", "40GiB")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "34,752,083,968 (vision 303.5 M" in text
    assert "64.7 GiB as float16" in text
    assert "tensor parallelism with 1, 2, 4, 8 GPU(s)" in text
    assert "672×672 2,928" in text
    assert "tensor with K = 3, 5, 6: doesn't divide its 56 attention heads" in text
    assert "Take 4 replica(s) of 2 GPUs each (tensor)" in text
    assert f"muster run --model {llava} --tasks TASKS --gpus-per-replica 2 --parallelism tensor" in text


def test_several_nodes_get_a_launcher(llava: Path) -> None:
    done = muster("plan", "--model", llava, "--gpus", 8, "--gpu-memory", "40GiB", "--nodes", 2)
    assert "Take 8 replica(s) of 2 GPUs each (tensor) on 2 nodes" in done.stdout
    assert "torchrun --nnodes 2 --nproc-per-node 4" in done.stdout


def test_what_does_not_fit_is_exit_1_with_advice(llava: Path) -> None:
    done = muster("plan", "--model", llava, "--gpus", 1, "--gpu-memory", "40GiB")
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "error: it doesn't fit on 1 GPU(s) of 40.0 GiB: its weights are 64.7 GiB as float16" in text
    assert "What helps: larger GPUs or more of them" in text
    smaller = planned("--model", llava, "--gpus", 1, "--gpu-memory", "40GiB", "--dtype", "int4")
    assert smaller["choice"]["fit"]["gpus"] == 1


def test_a_machine_without_gpus_says_so_and_shows_common_ones(llava: Path) -> None:
    done = muster("plan", "--model", llava)
    assert done.returncode == 0
    assert "This machine has no GPUs" in done.stdout
    assert "A100 (40 GB)" in done.stdout
    plan = planned("--model", llava)
    choices = {name: choice and choice["fit"]["gpus"] for name, choice in plan["elsewhere"].items()}
    assert list(choices.values()) == [4, 2, 2, 1, 1]
    assert plan["cluster"] is None


def test_tasks_decide_prompts_and_a_rate_gives_the_time(llava: Path) -> None:
    here = ("--model", llava, "--gpus", 8, "--gpu-memory", "40GiB")
    plan = planned(*here, "--tasks", "digits_read,digits_choice", "--rate", "2", "--batch-size", "4")
    demand = plan["assumption"]["demand"]
    assert demand["answer"] == 4
    assert 1200 < demand["prompt"] < 1400  # digits of 32×32 fill two tiles of 24×24 patches, and little text
    rows = {row["replicas"]: row for row in plan["expectations"]}
    assert list(rows) == [2**power for power in range(13)]
    assert plan["requests"] == 1000
    assert rows[1]["seconds"] == pytest.approx(500, rel=0.01)
    assert rows[4]["seconds"] == pytest.approx(125, rel=0.1)
    assert rows[4096]["efficiency"] < 0.2
    assert rows[4096]["gpus"] == 8192


def test_an_earlier_run_gives_the_time(tmp_path: Path) -> None:
    run = start(tmp_path / "run", "--model", "demo", "--tasks", "digits_read", "--limit", "64")
    assert run.wait() == 0, run.stderr
    plan = planned("--model", "demo", "--gpus", 1, "--gpu-memory", "8", "--from", run.output)
    rows = {row["replicas"]: row for row in plan["expectations"]}
    assert plan["requests"] == 64
    assert plan["pace"]["load_seconds"] > 0
    assert rows[1]["seconds"] > plan["pace"]["load_seconds"]
    assert rows[1]["gpu_hours"] == pytest.approx(rows[1]["seconds"] / 3600)
    whole = planned(
        "--model", "demo", "--gpus", 1, "--gpu-memory", "8", "--from", run.output, "--tasks", "digits_read"
    )
    assert whole["requests"] == 500
    assert whole["expectations"][0]["seconds"] > rows[1]["seconds"]
    text = muster("plan", "--model", "demo", "--gpus", 1, "--gpu-memory", "8", "--from", run.output).stdout
    assert "parallel efficiency" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "8"], "how large are they? Add --gpu-memory"),
        (["--gpu-memory", "40 bananas"], "expected a size like 40GiB"),
        (["--dtype", "int3"], "expected auto, float32"),
        (["--image-size", "big"], "expected WIDTHxHEIGHT"),
        (["--parallelism", "pipeline"], "expected tensor or device-map"),
        (["--rate", "3"], "--rate needs --tasks"),
        (["--from", "nowhere"], "is not a run folder"),
        (["--tasks", "no_such_task"], "no_such_task"),
        (["--model", "no/such/folder"], "there is no such folder"),
        ([], "--model is required"),
    ],
)
def test_mistakes_are_exit_2_with_one_message(llava: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("?", r"\?")):
        CliRunner().invoke(
            app, ["plan", *(["--model", str(llava)] if arguments else []), *arguments], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40", 40 * GIB),
        ("40GiB", 40 * GIB),
        ("40 GB", 40 * 10**9),
        ("81559MiB", 81559 * 2**20),
        ("0.5g", GIB // 2),
    ],
)
def test_sizes_of_memory(text: str, expected: int) -> None:
    assert parse_memory(text) == expected


def test_sizes_of_images() -> None:
    assert parse_image_size("1280x960") == (1280, 960)
    assert parse_image_size(None) is None
    with pytest.raises(ConfigurationError, match="WIDTHxHEIGHT"):
        parse_image_size("0x5")


class FakeMemory:
    def __init__(self, total: int) -> None:
        self.total = total


def test_the_gpus_of_this_machine_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of different sizes: the smaller one counts, and what the user says goes first."""
    import pynvml

    memory = {"0": 80 * GIB, "2": 40 * GIB}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", str)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", str)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", lambda handle: FakeMemory(memory[handle]))
    assert gpus_module.this_machine() == Gpus(2, 40 * GIB)
    assert find_cluster(None, None, 3) == Gpus(2, 40 * GIB, 3)
    assert find_cluster(4, None, 1) == Gpus(4, 40 * GIB)
    assert find_cluster(None, "16", 1) == Gpus(2, 16 * GIB)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_cluster(None, None, 1) is None
    assert find_cluster(None, "16", 1) == Gpus(1, 16 * GIB)
