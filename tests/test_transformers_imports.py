"""A module that is imported when its function is called: scipy's optimizers, which transformers' losses name.

Guards against a stand-in that stays, or that is met by somebody who wants the module itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = """
made = "at once"
def solve(number): return number + 1
def other(): return "other"
"""
BEGIN = "import sys; from muster.models.transformers.imports import called_later"


def run(tmp_path: Path, code: str) -> str:
    (tmp_path / "heavy").mkdir(exist_ok=True)
    (tmp_path / "heavy" / "__init__.py").touch()
    (tmp_path / "heavy" / "part.py").write_text(PACKAGE)
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}\n{code}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_module_is_imported_when_its_function_is_called(tmp_path: Path) -> None:
    code = """
with called_later("heavy.part", "solve"):
    from heavy.part import solve
print("heavy.part" in sys.modules, solve(1), "heavy.part" in sys.modules)
from heavy.part import made
import heavy.part
print(made, heavy.part.solve(2))
"""
    assert run(tmp_path, code) == "False 2 True\nat once 3"


def test_whoever_wants_something_else_gets_the_module(tmp_path: Path) -> None:
    code = """
with called_later("heavy.part", "solve"):
    import heavy.part as first
    from heavy.part import other
    import heavy.part as second
print(other(), first.made, second.made, second is sys.modules["heavy.part"])
"""
    assert run(tmp_path, code) == "other at once at once True"


def test_what_is_missing_or_there_already_stays_so(tmp_path: Path) -> None:
    code = """
with called_later("nowhere.part", "solve"):
    print("nowhere.part" in sys.modules)
import heavy.part
with called_later("heavy.part", "solve"):
    print(sys.modules["heavy.part"] is heavy.part)
"""
    assert run(tmp_path, code) == "False\nTrue"


def test_loading_a_model_needs_none_of_scipys_optimizers() -> None:
    pytest.importorskip("scipy")
    code = """
from muster.models.transformers.imports import import_transformers
import_transformers()
from transformers.loss import loss_for_object_detection as losses
print("scipy.optimize" in sys.modules and "sklearn" not in sys.modules)  # which imports it itself
rows, columns = losses.linear_sum_assignment([[4.0, 1.0], [1.0, 4.0]])
print(list(rows), list(columns), "scipy.optimize" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}\n{code}"], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "False"
    assert second.endswith("True")
