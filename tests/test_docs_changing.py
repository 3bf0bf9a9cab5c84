"""The examples of docs/changing.md are where a first change starts: each has to work against the contracts of today."""

from __future__ import annotations

import importlib.util
import re
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from muster.core import Sample
from muster.engines import registry as engines
from muster.models import registry as models
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.task_file import load_task_file

PAGE = (Path(__file__).parent.parent / "docs" / "changing.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """The block that is introduced as the file `name`."""
    [found] = re.findall(rf"`{re.escape(name)}`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.fixture
def module(request: pytest.FixtureRequest, tmp_path: Path) -> ModuleType:
    file = tmp_path / Path(request.param).name
    file.write_text(block(request.param), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, file.stem, made)
        spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("module", ["src/muster/metrics/prefix.py"], indirect=True)
def test_the_metric(module: ModuleType) -> None:
    metric = module.Prefix()
    sample = Sample("1", "?", answers=("Paris",))
    assert [metric.score(sample, text).scores["accuracy"] for text in ("paris, France", "In Paris")] == [1, 0]
    assert metric.info.primary == "accuracy"


@pytest.mark.parametrize("module", ["src/muster/tasks/sources/sqlite.py"], indirect=True)
def test_the_kind_of_data(module: ModuleType, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "quiz.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE samples (id TEXT, question TEXT, answer TEXT)")
        connection.execute("INSERT INTO samples VALUES ('1', 'What is 2 + 2?', '4')")
    source = MappedSource(module.SqliteRows(BenchmarkFolder(tmp_path), "quiz.sqlite"))
    assert [(each.id, each.question, each.answer) for each in source.load()] == [("1", "What is 2 + 2?", "4")]
    assert source.revision()


def test_the_task(tmp_path: Path) -> None:
    (tmp_path / "lanes.yaml").write_text(block("src/muster/tasks/catalog/lanes.yaml"), encoding="utf-8")
    [task] = load_task_file(tmp_path / "lanes.yaml")
    assert task.metric.info.name == "number"


def test_the_lines_of_the_registries() -> None:
    lines = dict(re.findall(r'^    "(ink|background)": (.*),$', PAGE, re.MULTILINE))
    names = {"Builtin": models.Builtin, "EngineKind": engines.EngineKind}
    made = {name: eval(line, {}, names) for name, line in lines.items()}
    assert made["ink"].kind == "any"
    assert made["background"].launcher == "itself"


def test_the_files_that_it_names_exist() -> None:
    root = Path(__file__).parent.parent
    named = set(re.findall(r"`((?:src|tests|scripts|docs|benchmarks)/[\w/.-]+)`", PAGE))
    made_by_the_reader = {"prefix", "lanes", "sqlite", "ink", "background"}
    missing = {
        name
        for name in named
        if "NAME" not in name and not made_by_the_reader & set(Path(name).with_suffix("").parts)
        if not (root / name).exists()
    }
    assert len(named) > 15
    assert not missing
