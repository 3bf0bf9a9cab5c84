"""A backend in a package of somebody else: found by its entry point, once the package is installed.

Guards against names that only work for what ships with Muster, and against importing what nobody asked for.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from processes import start

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "own-backend.md").read_text(encoding="utf-8")


def guide(pattern: str) -> str:
    """The one thing in the guide that matches."""
    [found] = re.findall(pattern, GUIDE, re.DOTALL)
    return str(found)


def build_wheel(folder: Path, name: str, files: dict[str, str], entry_points: str) -> Path:
    """A wheel, as any build tool makes it (packaging.python.org, binary distribution format)."""
    info = f"{name}-1.0.dist-info"
    contents = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in contents.items()
    }
    record = "".join(
        f"{path},sha256={digest},{len(contents[path].encode())}\n" for path, digest in digests.items()
    )
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return wheel


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the guide's package is installed, beside one that breaks when it is imported."""
    folder = tmp_path_factory.mktemp("packages")
    named = guide(r'```toml\n\[project\.entry-points\."muster\.models"\]\n(.*?)```').replace('"', "")
    good = build_wheel(
        folder,
        "my_package",
        {"my_package/__init__.py": "", "my_package/ink.py": guide(r"`ink\.py`:\n\n```python\n(.*?)```")},
        f"[muster.models]\n{named}",
    )
    entry = "[muster.models]\nbad = bad_package:Model\nneedy = needy_package:Model\n"
    bad = build_wheel(
        folder,
        "bad_package",
        {"bad_package.py": "1 / 0\n", "needy_package.py": "import a_package_that_nobody_has\n"},
        entry,
    )
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([*command, str(folder / "site"), str(good), str(bad)], check=True)
    return folder / "site"


def environment(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(site)])}


def test_its_name_works_in_every_worker(site: Path, tmp_path: Path) -> None:
    given = ["--model", "ink", "--tasks", "digits_read", "--limit", "40", "--model-args", "threshold=75"]
    run = start(tmp_path / "run", *given, "--backend", "ink", "--replicas", "2", env=environment(site))
    assert run.wait() == 0, run.stderr
    assert run.results().tasks["digits_read"].samples.succeeded == 40
    assert {record.completion.text for record in run.journal()} == {"1", "8"}


def test_it_is_listed_and_what_breaks_elsewhere_does_no_harm(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "muster", "models"],
        env=os.environ | environment(site),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = [line for line in done.stdout.splitlines() if "of an installed package" in line]
    assert [line.strip("│| ").split()[0] for line in listed] == ["bad", "ink", "needy"]


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        ("inc", "did you mean 'ink'?"),
        ("needy", "needs a package that isn't installed: a_package_that_nobody_has"),
        ("bad", "ZeroDivisionError"),
    ],
)
def test_what_cant_be_loaded_is_explained(site: Path, tmp_path: Path, backend: str, why: str) -> None:
    run = start(
        tmp_path / "run",
        "--model",
        "x",
        "--tasks",
        "digits_read",
        "--backend",
        backend,
        env=environment(site),
    )
    assert run.wait() == 2, run.stderr
    assert why in run.stderr
    assert 'Traceback (most recent call last):\n  File "<frozen' not in run.stderr
