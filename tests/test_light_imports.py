"""Muster's command answers at once, because it imports what is heavy only where it is used.

Guards against the ten seconds that other tools take to print their help, which creep in one import at a time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from processes import fake, write_benchmark

HEAVY = {
    "accelerate", "av", "datasets", "huggingface_hub", "matplotlib", "openai", "pandas", "ray", "scipy", "sklearn",
    "torch", "torchvision", "transformers", "vllm",
}  # fmt: skip

CONVENIENCES = {"pandas", "pyarrow.compute"} if int(version("pyarrow").partition(".")[0]) < 26 else set[str]()
"""What pyarrow imports by itself: 16 does so in further calls than 26, whose others Muster avoids."""

AT_EXIT = """
import atexit, json, sys
atexit.register(lambda: sys.stderr.write("\\nloaded " + json.dumps(sorted(sys.modules)) + "\\n"))
"""
WITH_MAIN = """
sys.argv = ["muster", *json.loads(sys.argv[1])]
from muster.cli import main
main()
"""


def loaded_by(code: str, *arguments: str) -> tuple[int, set[str]]:
    """The exit status of a fresh interpreter's work, and the packages and modules that it had imported in the end."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT + code, *arguments], capture_output=True, text=True, check=False
    )
    modules = json.loads(done.stderr.rpartition("\nloaded ")[2])
    return done.returncode, {*modules, *(module.partition(".")[0] for module in modules)}


def test_importing_muster_imports_nothing_heavy() -> None:
    code = "import muster"
    _, packages = loaded_by(code)
    assert "muster" in packages
    assert not packages & (HEAVY | {"numpy", "pyarrow", "pydantic", "rich", "typer"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["score", "--help"],
        ["tasks"],
        ["tasks", "digits"],
        ["models"],
        ["plan", "--model", "demo"],
        ["plan", "--model", "demo", "--tasks", "digits", "--rate", "5"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_model_import_nothing_heavy(arguments: list[str]) -> None:
    status, packages = loaded_by(WITH_MAIN, json.dumps(arguments))
    assert status == 0
    assert "typer" in packages
    assert not packages & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_does_not_even_load_the_arrays(arguments: list[str]) -> None:
    _, packages = loaded_by(WITH_MAIN, json.dumps(arguments))
    assert not packages & {"numpy", "pyarrow", "PIL"}


def test_a_run_with_another_backend_never_imports_torch(tmp_path: Path) -> None:
    """An evaluation through an API, or with a backend of one's own, must work where torch is not installed."""
    task = write_benchmark(tmp_path, 3)
    arguments = [
        "run",
        "--model",
        "echo",
        "--backend",
        fake("Echo"),
        "--tasks",
        str(task),
        "--progress",
        "none",
    ]
    status, packages = loaded_by(WITH_MAIN, json.dumps([*arguments, "--output", str(tmp_path / "run")]))
    assert status == 0
    assert (tmp_path / "run" / "results.json").exists()
    assert not packages & (HEAVY | {"pyarrow.compute"}) - CONVENIENCES
    status, packages = loaded_by(WITH_MAIN, json.dumps(["score", str(tmp_path / "run")]))
    assert status == 0
    assert not packages & (HEAVY | {"pyarrow.compute"}) - CONVENIENCES


def test_the_probe_would_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command imports on its way, here a backend that imports a torch, even one that doesn't work."""
    (tmp_path / "torch.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "own.py").write_text("class Own:\n    def __init__(self, settings):\n        import torch\n")
    task = write_benchmark(tmp_path, 3)
    words = ["run", "--model", "x", "--backend", f"{tmp_path / 'own.py'}:Own", "--tasks", str(task)]
    _, packages = loaded_by(WITH_MAIN, json.dumps([*words, "--output", str(tmp_path / "run")]))
    assert "torch" in packages
