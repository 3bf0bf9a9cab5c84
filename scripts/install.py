"""Installs Muster from this checkout into a virtual environment: what `make demo` and `make test` call.

Releases are those of constraints/lock.txt, so that nobody's new release breaks these commands; `--releases newest` and
`--releases oldest` take the ends of what pyproject.toml allows instead.

On a machine without an NVIDIA GPU it takes the CPU build of torch, which is a tenth of the CUDA build's size. pip's
own index has only one build per platform, and on Linux that is the CUDA one; so the CPU build is asked for by its
version where pip is configured with an index or folder that has it, and otherwise fetched by uv, which knows where
torch keeps it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "constraints" / "lock.txt"
TORCH_ANY = (ROOT / "constraints" / "torch.txt").read_text(encoding="utf-8").strip()
"""The release that Muster's own tests run with, of whichever build fits the machine."""
TORCH_CPU = f"{TORCH_ANY}+cpu"


def main() -> None:
    """Make the environment, then install torch and Muster, as far as they are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="the environment to install into")
    parser.add_argument("--extra", default="transformers", help="the optional part of Muster to install")
    parser.add_argument("--torch", default="", help="a requirement or wheel, instead of the fitting build")
    parser.add_argument(
        "--releases", choices=["locked", "newest", "oldest"], default="locked", help="of all the rest"
    )
    given = parser.parse_args()
    environment: Path = given.venv.absolute()
    try:
        python = make_environment(environment)
        install_torch(python, given.torch)
        say(f"installing Muster and its {given.extra} packages into {given.venv}")
        install_muster(python, given.extra, given.releases)
        compile_where_nobody_else_would(python)
    except subprocess.CalledProcessError as error:
        sys.exit(f"the installation failed (status {error.returncode}): {error.cmd}")


def make_environment(environment: Path) -> Path:
    """The environment's interpreter; an environment that exists is used as it is."""
    python = environment / "bin" / "python"
    if not python.exists():
        say(f"making a virtual environment in {environment}")
        # One that lost its interpreter is made anew; a folder that is something else is not emptied.
        venv.create(environment, with_pip=True, clear=(environment / "pyvenv.cfg").exists())
    return python


def install_torch(python: Path, wanted: str) -> None:
    """Install what the user named, else nothing where there is a torch, else the build that fits the machine."""
    if wanted:
        pip(python, wanted)
    elif has_torch(python):
        say("using the torch that is installed there")
    elif sys.platform != "linux" or has_nvidia_gpu():
        say("installing torch")
        pip(python, TORCH_ANY)
    else:
        install_torch_for_cpu(python)


def install_torch_for_cpu(python: Path) -> None:
    """The CPU build, from wherever it can be had; ends the program where it can't."""
    say("no NVIDIA GPU here: installing the CPU build of torch")
    if attempt([str(python), "-m", "pip", "install", "--quiet", "--no-compile", TORCH_CPU]):
        return
    # Without its dependencies: pip installs those with Muster, from the index that it is configured with.
    from_torch = ["pip", "install", "--quiet", "--no-deps", "--torch-backend=cpu"]
    if not attempt([find_uv(python), *from_torch, "--python", str(python), TORCH_ANY], show_errors=True):
        sys.exit(
            "the CPU build of torch can't be had from here. Give a requirement or a wheel that can: "
            "`make demo TORCH=./torch-2.13.0+cpu-….whl`, or `make demo TORCH=torch` for the default build (gigabytes)"
        )


def install_muster(python: Path, extra: str, releases: str) -> None:
    """Muster in editable form with an extra, beside the torch that is there."""
    wanted = ["--editable", f"{ROOT}[{extra}]"]
    if releases == "locked":
        pip(python, "--constraint", str(LOCK), *wanted)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as torch:
        version = subprocess.run(
            [str(python), "-c", "import importlib.metadata as m; print(m.version('torch'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        torch.write(f"torch=={version}\n")
        torch.flush()
        which = ["--upgrade"] if releases == "newest" else ["--resolution", "lowest-direct"]
        options = ["pip", "install", "--quiet", *which, "--override", torch.name, "--python", str(python)]
        subprocess.run([find_uv(python), *options, *wanted], check=True)


def compile_where_nobody_else_would(python: Path) -> None:
    """Compile all modules where Python is told not to: elsewhere each is when it is first imported, and most never are.

    On all cores, where pip would take one, for half of the time that the installation takes.
    """
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        everything = [str(python), "-m", "compileall", "-qq", "-j", "0", str(python.parents[1] / "lib")]
        attempt(everything)  # some packages have files for other Pythons


def find_uv(python: Path) -> str:
    """uv, which knows where torch keeps its builds and can resolve to the oldest releases."""
    uv = shutil.which("uv")
    if uv is None:
        pip(python, "uv")
        uv = str(python.parent / "uv")
    return uv


def has_torch(python: Path) -> bool:
    """Whether the environment has torch; doesn't import it."""
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    return attempt([str(python), "-c", probe])


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is loaded, by its own files or its own tool."""
    if Path("/proc/driver/nvidia/version").exists():
        return True
    tool = shutil.which("nvidia-smi")
    return tool is not None and attempt([tool, "--list-gpus"])


def pip(python: Path, *packages: str) -> None:
    """Install packages. Raises `subprocess.CalledProcessError`; pip has said why."""
    subprocess.run([str(python), "-m", "pip", "install", "-qq", "--no-compile", *packages], check=True)


def attempt(command: Sequence[str], *, show_errors: bool = False) -> bool:
    """Whether a command succeeds."""
    errors = None if show_errors else subprocess.DEVNULL
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=errors)
    return done.returncode == 0


def say(line: str) -> None:
    """Tell the user what takes its time."""
    print(f"-- {line}", flush=True)


if __name__ == "__main__":
    main()
