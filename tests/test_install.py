"""What `make demo` installs on which machine: a stand-in for the environment's Python writes down what it is told.

Guards against gigabytes of CUDA libraries on a laptop, a CPU build on a GPU machine, an installer that replaces the
torch that somebody chose, and a new release of a dependency that breaks the commands of the README.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # the scripts are no part of the package
from scripts import install  # noqa: E402


class Machine:
    """A folder of stand-ins. What each does is decided by files beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = self.program(
            "python",
            f"""
            case "$*" in
              *find_spec*) test -e {folder}/has-torch ;;
              *"{install.TORCH_CPU}"*) test -e {folder}/pip-has-cpu-build ;;
              *" uv") cp {folder}/uv-to-be {folder}/uv ;;
            esac""",
        )
        self.program("uv-to-be", f"test -e {folder}/uv-has-cpu-build")

    def program(self, name: str, body: str) -> Path:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {self.folder}/calls\n{body}\n')
        path.chmod(0o755)
        return path

    def has(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()

    @property
    def installed(self) -> list[str]:
        """The installations that were tried, in order."""
        calls = (self.folder / "calls").read_text().splitlines()
        return [call for call in calls if "install" in call]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    shell = Path(shutil.which("sh") or "/bin/sh").parent
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{shell}")
    monkeypatch.setattr(sys, "platform", "linux")
    return Machine(tmp_path)


@pytest.fixture
def without_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(install, "has_nvidia_gpu", lambda: False)
    return machine


def test_a_torch_that_is_there_is_kept(machine: Machine) -> None:
    machine.has("has-torch")
    install.install_torch(machine.python, "")
    assert machine.installed == []


def test_what_the_user_names_is_taken(machine: Machine) -> None:
    machine.has("has-torch")
    install.install_torch(machine.python, "./torch.whl")
    assert machine.installed == ["python -m pip install -qq --no-compile ./torch.whl"]


def test_the_default_build_beside_a_gpu(machine: Machine) -> None:
    machine.program("nvidia-smi", "exit 0")
    install.install_torch(machine.python, "")
    assert machine.installed == [f"python -m pip install -qq --no-compile {install.TORCH_ANY}"]


def test_a_driver_tool_without_a_gpu_is_no_gpu(machine: Machine) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a GPU")
    machine.program("nvidia-smi", "exit 9")
    assert not install.has_nvidia_gpu()


def test_the_cpu_build_where_pip_has_it(without_gpu: Machine) -> None:
    without_gpu.has("pip-has-cpu-build")
    install.install_torch(without_gpu.python, "")
    assert without_gpu.installed == [f"python -m pip install --quiet --no-compile {install.TORCH_CPU}"]


def test_the_cpu_build_through_uv_elsewhere(without_gpu: Machine) -> None:
    without_gpu.has("uv-has-cpu-build")
    install.install_torch(without_gpu.python, "")
    _, uv, torch = without_gpu.installed
    assert uv == "python -m pip install -qq --no-compile uv"
    assert torch.startswith("uv pip install")
    assert "--torch-backend=cpu" in torch
    assert f"--python {without_gpu.python} {install.TORCH_ANY}" in torch


def test_never_the_default_build_without_a_gpu(without_gpu: Machine) -> None:
    with pytest.raises(SystemExit, match="make demo TORCH="):
        install.install_torch(without_gpu.python, "")
    assert not any(
        call.endswith(install.TORCH_ANY) and "python -m pip" in call for call in without_gpu.installed
    )


def test_an_old_python_is_named(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$1" in -V) echo Python 3.9.2 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    for python, message in ((old, "is Python 3.9.2"), (tmp_path / "nowhere", "there is no")):
        done = subprocess.run(
            ["make", f"PYTHON={python}", f"VENV={tmp_path}/venv", "demo"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert message in done.stderr
        assert not (tmp_path / "venv").exists()


def test_a_folder_that_is_no_environment_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    install.make_environment(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"
    assert (tmp_path / "bin" / "python").exists()


# -- which releases


def requirements() -> list[Requirement]:
    """All that pyproject.toml asks for, Muster's own extras aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    return [each for each in map(Requirement, lines) if each.name != "muster-eval"]


def pins() -> dict[str, list[Requirement]]:
    found: dict[str, list[Requirement]] = {}
    for line in install.LOCK.read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def test_every_dependency_has_two_ends() -> None:
    """Without an upper one a release of somebody else's breaks what worked yesterday."""
    for each in requirements():
        operators = {part.operator for part in each.specifier}
        assert ">=" in operators, each
        assert "<" in operators, each


def test_what_is_private_is_allowed_to_the_next_minor_release_only() -> None:
    for each in requirements():
        if each.name in ("transformers", "torch", "vllm"):
            upper = next(part.version for part in each.specifier if part.operator == "<")
            assert upper.count(".") == 1, each


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_lock_has_one_release_of_each_and_one_that_is_allowed(python: str) -> None:
    """For every Python and platform. torch is left to the machine; vLLM and sinks have environments of their own."""
    locked = pins()
    for platform in ("linux", "darwin"):
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.1",
            "sys_platform": platform,
        }
        for each in requirements():
            if each.name in ("torch", "vllm", "mlflow", "tensorboard", "wandb"):
                continue
            name = canonicalize_name(each.name)
            valid = [pin for pin in locked[name] if pin.marker is None or pin.marker.evaluate(environment)]
            assert len(valid) == 1, (name, environment)
            (version,) = (part.version for part in valid[0].specifier)
            assert version in each.specifier, (name, version)
    assert "torch" not in locked
    assert "make lock" in install.LOCK.read_text()


def test_the_lock_names_no_registry_and_no_machine() -> None:
    text = install.LOCK.read_text()
    for word in ("://", "/opt", "/work", "/home", "index-url", "find-links", "hash"):
        assert word not in text


def test_the_lock_is_what_is_installed(without_gpu: Machine) -> None:
    install.install_muster(without_gpu.python, "dev", "locked")
    (call,) = without_gpu.installed
    assert (
        call == f"python -m pip install -qq --no-compile --constraint {install.LOCK} --editable {ROOT}[dev]"
    )


@pytest.mark.parametrize(("variable", "compiled"), [("1", True), ("", False)])
def test_modules_are_compiled_where_no_import_would_do_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str, compiled: bool
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", variable)
    (machine.folder / "calls").touch()
    install.compile_where_nobody_else_would(machine.python)
    calls = (machine.folder / "calls").read_text()
    assert calls.startswith("python -m compileall -qq -j 0 ") == compiled == bool(calls)


@pytest.mark.parametrize(
    ("releases", "how"), [("newest", "--upgrade"), ("oldest", "--resolution lowest-direct")]
)
def test_the_ends_of_what_is_allowed(without_gpu: Machine, releases: str, how: str) -> None:
    """The torch that fits the machine stays."""
    without_gpu.has("uv-has-cpu-build")
    install.install_muster(without_gpu.python, "dev", releases)
    call = without_gpu.installed[-1]
    assert call.startswith(f"uv pip install --quiet {how} --override ")
    assert call.endswith(f"--python {without_gpu.python} --editable {ROOT}[dev]")
