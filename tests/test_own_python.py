"""Files in the working directory that are named like a library's don't reach Muster's own processes.

Guards against a user's `queue.py` beside the task that kills a rank, a worker or a helper process, some of them in
silence: a preparation process that is gone only makes a run slower.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import muster
from muster.core.own_python import SAFE_PATH, own_module
from processes import DEADLINE, fake, write_benchmark

SOURCE = Path(muster.__file__).parent
SHADOWS = (
    "queue",
    "yaml",
    "token",
    "copy",
    "typing",
    "logging",
    "json",
    "socket",
    "asyncio",
    "select",
    "tokenize",
)
MODULES = [
    "muster.worker.worker",
    "muster.engines.late_ranks",
    "muster.judging.child",
    "muster.models.transformers.preparation_child",
    "muster.models.transformers.tensor.follower",
    "muster.sizing.empty_model",
]


@pytest.fixture
def shadowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} is shadowed')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_no_child_finds_them(shadowed: Path, module: str) -> None:
    assert shadowed == Path.cwd()
    check = f"import {module.partition('.')[0]}, importlib; importlib.import_module({module!r}); import queue, yaml"
    options = own_module(module)[1:-2]
    done = subprocess.run(
        [sys.executable, *options, "-c", check], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_servers_and_what_they_start_are_told_so_too(shadowed: Path) -> None:
    assert shadowed == Path.cwd()
    command = [sys.executable, "-c", "import queue"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    assert subprocess.run(command, env=SAFE_PATH, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("engine", ["inline", "local"])
def test_python_dash_m_muster_runs_beside_them(shadowed: Path, engine: str) -> None:
    """What torchrun, srun and mpirun start."""
    task = write_benchmark(shadowed / "bench", 4)
    words = [
        "run",
        "--model",
        "x",
        "--tasks",
        str(task),
        "--output",
        "run",
        "--engine",
        engine,
        "--backend",
        fake("Echo"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "muster", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_backend_beside_them_is_found_all_the_same(shadowed: Path) -> None:
    (shadowed / "mine.py").write_text(
        "class Model:\n    def __init__(self, settings): raise ValueError('found me')\n"
    )
    task = write_benchmark(shadowed / "bench", 1)
    words = [
        "run",
        "--model",
        "x",
        "--tasks",
        str(task),
        "--output",
        "run",
        "--engine",
        "inline",
        "--backend",
        "mine:Model",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "muster", *words], capture_output=True, text=True, check=False
    )
    assert "found me" in done.stderr


def test_every_python_child_is_started_in_one_way() -> None:
    """A new one with a command line of its own would be the next to die of a queue.py."""
    alone = {
        "core/own_python.py",
        "models/servers/command.py",
        "cli/slurm.py",
        "toolkits/options.py",  # names the interpreter of another toolkit
    }  # the others start other programs
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if "sys.executable" in path.read_text(encoding="utf-8")
    }
    inside = {name for name in found if name.startswith("toolkits/inside/")}  # these run in it, and name it
    assert found - inside <= alone
    for name in inside:
        assert "subprocess" not in (SOURCE / name).read_text(encoding="utf-8"), name


def test_the_last_word_is_said_beside_them(shadowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LateRanks's errors go nowhere, so only its status tells."""
    from muster.engines.late_ranks import LateRanks

    assert shadowed == Path.cwd()
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    late_ranks = LateRanks(0, {})
    assert late_ranks._process is not None
    assert late_ranks._process.wait(DEADLINE) == 0
    late_ranks.end(0.0)
