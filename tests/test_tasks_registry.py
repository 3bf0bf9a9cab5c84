"""Finding tasks: by name, by group, in files, in other packages."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from muster.core import ConfigurationError
from muster.tasks import registry
from muster.tasks.registry import group_names, groups, list_tasks, load_tasks, task_names
from processes import DEADLINE

YAML = "groups: [{group}]\nsource: {{file: d.csv}}\nmetric: exact_match\ntasks:\n"


def catalogue(folder: Path, file: str, group: str, *names: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / file
    path.write_text(YAML.format(group=group) + "".join(f"  - name: {name}\n" for name in names))
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue of two files, and no other packages."""
    folder = tmp_path / "catalog"
    catalogue(folder, "b.yaml", "letters", "b_two", "b_one")
    catalogue(folder, "a.yaml", "letters", "a_one", "letters_only")
    monkeypatch.setattr(registry, "CATALOGUE", folder)
    offer(monkeypatch)
    return folder


def offer(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """Make `points` the entry points that are installed."""
    offered = EntryPoints(EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in points.items())
    monkeypatch.setattr(registry, "entry_points", lambda group: offered.select(group=group))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody else, importable."""
    folder = tmp_path / "site" / "their_benchmarks"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    for name in [name for name in sys.modules if name.startswith("their_benchmarks")]:
        del sys.modules[name]


def names(asked: list[str]) -> list[str]:
    return [task.name for task in load_tasks(asked)]


def test_names_and_groups_in_the_order_asked_each_once(shelf: Path) -> None:
    assert names(["b_one", "a_one", "b_one"]) == ["b_one", "a_one"]
    assert names(["letters"]) == ["a_one", "letters_only", "b_two", "b_one"]
    assert names(["b_one", "letters"]) == ["b_one", "a_one", "letters_only", "b_two"]
    assert task_names() == ["a_one", "letters_only", "b_two", "b_one"]
    assert groups() == {"letters": task_names()}
    assert group_names() == ["letters"]


def test_one_broken_file_does_not_stop_the_others(shelf: Path) -> None:
    """Only files that hold an asked task are checked in full."""
    (shelf / "c.yaml").write_text("name: c\nmetric: nobody\n")
    assert names(["a_one"]) == ["a_one"]
    with pytest.raises(ConfigurationError, match=r"c\.yaml:2: metric"):
        load_tasks(["c"])


def test_files_give_all_their_tasks(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(tmp_path, "mine.yml", "m", "mine", "mine_too")
    monkeypatch.chdir(tmp_path)
    assert names(["./mine.yml", "a_one", str(tmp_path / "mine.yml")][:2]) == ["mine", "mine_too", "a_one"]


def test_unknown_names_are_told_together_with_what_is_close(shelf: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_tasks(["leters", "a_one", "zzz"])
    first, second = str(caught.value).splitlines()
    assert first.startswith("Unknown task or group 'leters'; did you mean 'letters'")
    assert second.startswith("Unknown task or group 'zzz'. `muster tasks` lists them; a file of your own")


def test_two_tasks_of_one_name_from_two_files(shelf: Path, tmp_path: Path) -> None:
    mine = catalogue(tmp_path, "mine.yaml", "m", "a_one")
    with pytest.raises(
        ConfigurationError, match=r"Two tasks are named 'a_one': one in .*a\.yaml, one in .*mine\.yaml"
    ):
        load_tasks(["letters", str(mine)])
    assert names([str(mine)]) == ["a_one"]


def test_a_python_file(shelf: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_task.py"
    file.write_text(
        textwrap.dedent(
            """
            from __future__ import annotations
            from dataclasses import dataclass, replace
            from muster.tasks.registry import load_tasks

            @dataclass
            class Settings:
                version: int = 7

            def tasks():
                for task in load_tasks(["a_one"]):
                    yield replace(task, name="twice", version=Settings().version, origin="")
            """
        )
    )
    [task] = load_tasks([str(file)])
    assert (task.name, task.version, task.origin) == ("twice", 7, str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "has no function `tasks()` that returns a Task"),
        ("def tasks(): return 5", "has to return a Task or a list of them; it returned int"),
        ("def tasks(): return []", "has to return a Task or a list of them; it returned nothing"),
        ("\n\nimport nothing_like_this", r":3: ModuleNotFoundError"),
        ("\ndef tasks():\n    return [][1]", r":3: IndexError"),
        ("def tasks(:", r":1: SyntaxError"),
        (
            "from muster.tasks.registry import load_tasks\ndef tasks(): return load_tasks(['a_one']) * 2",
            "several tasks are named 'a_one'",
        ),
    ],
)
def test_a_python_file_that_does_not_work(shelf: Path, tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "my_task.py"
    file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_tasks([str(file)])
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_missing_files(shelf: Path) -> None:
    for name in ("gone.yaml", "gone.py"):
        with pytest.raises(ConfigurationError, match=f"No such task file: {name}"):
            load_tasks([name])


def test_entry_points_name_packages_and_functions(
    shelf: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue(package, "theirs.yaml", "letters", "theirs", "a_one")
    (package / "built.py").write_text(
        "from dataclasses import replace\n"
        "from muster.tasks.task_file import load_task_file\n"
        "from pathlib import Path\n"
        "def one():\n"
        "    return replace(load_task_file(Path(__file__).parent / 'theirs.yaml')[0], name='built', origin='')\n"
    )
    offer(monkeypatch, yaml="their_benchmarks", python="their_benchmarks.built:one")
    assert names(["theirs", "built"]) == ["theirs", "built"]
    assert load_tasks(["built"])[0].origin == "entry point python (their_benchmarks.built:one)"
    assert names(["letters"]) == ["a_one", "letters_only", "b_two", "b_one", "built", "theirs"]
    [a_one] = load_tasks(["a_one"])
    assert a_one.origin == str(shelf / "a.yaml"), "a name of Muster's own can't be taken over"


def test_a_broken_package_costs_only_its_own_tasks(
    shelf: Path, package: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    (package / "bad.py").write_text("raise OSError('disk on fire')\n")
    catalogue(package, "theirs.yaml", "t", "theirs")
    offer(monkeypatch, bad="their_benchmarks.bad:tasks", yaml="their_benchmarks")
    assert names(["a_one"]) == ["a_one"]
    assert not recwarn.list, "Muster's own tasks need no other package"
    with pytest.warns(UserWarning, match="disk on fire"):
        assert names(["theirs"]) == ["theirs"]
    with pytest.warns(UserWarning, match="disk on fire"), pytest.raises(ConfigurationError) as caught:
        load_tasks(["bad_one"])
    assert "could not be loaded: entry point 'bad' = 'their_benchmarks.bad:tasks': disk on fire" in str(
        caught.value
    )


def test_the_catalogue_that_ships_is_valid() -> None:
    listed = list_tasks()
    assert [task.name for task in load_tasks(task_names())] == [listing.name for listing in listed]
    assert all(listing.description for listing in listed)


def test_finding_tasks_imports_nothing_heavy() -> None:
    code = (
        "import sys; from muster.tasks.registry import task_names; task_names();"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'PIL', 'jinja2', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=DEADLINE)
