"""Renews constraints/lock.txt, the releases that `make demo` and `make test` install: `make lock`.

uv resolves every dependency of the extra `dev`, which has all the others but vllm and the sinks (.ci/vllm and .ci/sinks
make environments of their own), to the newest release that pyproject.toml allows, for all Pythons and platforms at
once. torch isn't in the file: constraints/torch.txt names its release, whose build depends on the machine
(`install.py`), and what a build needs of its own (CUDA's libraries) comes with it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = Path("constraints/lock.txt")
TORCH = Path("constraints/torch.txt")
OLDEST_PYTHON = "3.11"
OF_A_BUILD = re.compile(r"(nvidia-(?!ml-py)\S+?|cuda-\S+?|triton|torch)(?===)")
"""Packages that belong to one build of torch."""


def main() -> None:
    """Write the file anew, from nothing: what it held before doesn't count."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "uv"], check=True)
        uv = python.with_name("uv")
        everything = compile_with(uv)
        left_out = sorted({found[1] for line in everything.splitlines() if (found := OF_A_BUILD.match(line))})
        content = compile_with(uv, *(f"--no-emit-package={name}" for name in left_out))
    (ROOT / LOCK).write_text(content, encoding="utf-8")
    print(f"{LOCK}: {sum('==' in line for line in content.splitlines())} releases")


def compile_with(uv: Path, *options: str) -> str:
    """The resolved releases. Ends the program where there are none; uv has said why."""
    command = [str(uv), "pip", "compile", "pyproject.toml", "--extra", "dev", "--constraint", str(TORCH)]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--upgrade", "--quiet", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"]
    done = subprocess.run([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit("the dependencies can't be resolved together: mend the bounds in pyproject.toml")
    return done.stdout


if __name__ == "__main__":
    main()
