"""An engine is a seam like a backend: a name, or a function of one's own.

Guards against an engine that has to be known in four files, and against a page on engines whose example doesn't run.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

import pytest

from muster.config import load_config
from muster.core import ConfigurationError
from muster.engines import registry
from muster.engines.choose import choose_engine
from muster.engines.registry import BUILTIN, launcher_of, list_engines, load_engine, takes_ranks
from processes import DEADLINE, fake, start, write_benchmark

PAGE = Path(__file__).parent.parent / "docs" / "own-engine.md"


def example(folder: Path) -> Path:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    file = folder / "polite.py"
    file.write_text(code)
    return file


def test_the_pages_engine_runs_its_workers_politely(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 6)
    file = example(tmp_path)
    words = ["--model", "echo", "--backend", fake("Echo"), "--tasks", str(task), "--progress", "none"]
    run = start(tmp_path / "run", *words, "--engine", f"{file}:choose", "--replicas", "2")
    done = run.process.communicate(timeout=DEADLINE)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    [attempt] = manifest["attempts"]
    assert (attempt["engine"], attempt["world_size"], attempt["exit_status"]) == ("polite", 2, 0), done


def test_every_engine_that_ships_can_be_chosen() -> None:
    assert list_engines() == list(BUILTIN)
    for name, kind in BUILTIN.items():
        assert callable(load_engine(name))
        assert kind.summary
    assert [name for name in ("auto", *BUILTIN) if takes_ranks(name)] == ["auto", "torchrun"]
    assert launcher_of("ray") == "cluster"


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("lokal", r"--engine lokal: there is no such engine; did you mean 'local'\?"),
        ("nowhere.at_all:choose", "there is no module"),
        ("json:nothing", "has no 'nothing'"),
    ],
)
def test_an_engine_that_there_is_not(engine: str, says: str) -> None:
    config = load_config({"model": "demo", "tasks": "digits_read", "engine": engine}, env={})
    with pytest.raises(ConfigurationError, match=says):
        choose_engine(config)


def test_a_launcher_that_there_is_not(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def choose(config): ...\nchoose.launcher = 'nobody'\n")
    with pytest.raises(ConfigurationError, match="launcher = 'nobody' must be one of itself, ranks, cluster"):
        launcher_of(f"{tmp_path}/own.py:choose")


def test_an_installed_package_names_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("polite", "json:loads", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "_entry_points", lambda: importlib.metadata.EntryPoints([entry]))
    assert list_engines() == [*BUILTIN, "polite"]
    assert load_engine("polite").__module__ == "json"
    assert launcher_of("polite") == "itself"
