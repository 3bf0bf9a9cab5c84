"""Finds tasks: by name, by group, or in a user's own file."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from muster.core import ConfigurationError
from muster.core.foreign_code import ForeignCode
from muster.core.text import did_you_mean
from muster.tasks.definition import Task
from muster.tasks.python_tasks import built_tasks, load_python_file
from muster.tasks.sources.data_folders import DataFolders
from muster.tasks.task_file import TaskOutline, load_task_file, outline_task_file
from muster.toolkits.options import ToolkitOptions, toolkit_of

CATALOGUE = Path(__file__).parent / "catalog"
ENTRY_POINTS = "muster.tasks"
_FILES = (".yaml", ".yml", ".py")
"""Endings of files that hold tasks."""


class TaskListing(NamedTuple):
    """A task that can be run by name."""

    name: str
    groups: tuple[str, ...]
    description: str
    origin: str
    """The file that defines it, or the package's entry point."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listing and how to get the task itself."""

    listing: TaskListing
    load: Callable[[DataFolders], list[Task]]
    """All tasks of the file or entry point that has this one."""


def load_tasks(
    names: Sequence[str], data: DataFolders | None = None, toolkits: ToolkitOptions | None = None
) -> list[Task]:
    """The tasks that `names` name, in that order, each once.

    `data` says where benchmarks' files are; by default `MUSTER_DATA` does. `toolkits`: where other toolkits are
    installed; by default variables of the environment say it.

    A name is a task, a group (all its tasks), a YAML file or a Python file (all tasks in it), `FILE:TASK`, or
    `lmms-eval:NAME`, `vlmevalkit:NAME`. Where a task and a group share a name, the task is meant.

    Raises:
        ConfigurationError: a name is unknown, a file is wrong, or two different tasks have the same name.
    """
    data = data or DataFolders.parse()
    shelf = _Shelf()
    tasks: dict[str, Task] = {}
    unknown: list[str] = []
    foreign = _of_toolkits(names, toolkits)
    for name in names:
        found = foreign.get(name) or _from_file(name, data) or shelf.find(name, data)
        if not found:
            unknown.append(name)
        for task in found:
            same = tasks.setdefault(task.name, task)
            if same.origin != task.origin:
                raise ConfigurationError(
                    f"Two tasks are named {task.name!r}: one in {same.origin}, one in {task.origin}. Rename one."
                )
    if unknown:
        raise ConfigurationError("\n".join(map(shelf.unknown, unknown)))
    return list(tasks.values())


def _of_toolkits(names: Sequence[str], options: ToolkitOptions | None) -> dict[str, list[Task]]:
    """The tasks of those names that are other toolkits', all loaded in one go: each start takes ten seconds."""
    theirs = [name for name in names if toolkit_of(name)]
    if not theirs:
        return {}
    from muster.toolkits.loading import load_toolkit_tasks

    return load_toolkit_tasks(theirs, options or ToolkitOptions.of_environment())


def absolute_name(name: str) -> str:
    """The name with the absolute path of the file that it names, so that it means the same everywhere."""
    path, colon, task = name.rpartition(":")
    for file, rest in ((name, ""), (path, f":{task}")):
        if file and (colon or not rest) and Path(file).expanduser().is_file():
            return f"{Path(file).expanduser().resolve()}{rest}"
    return name


def list_tasks() -> list[TaskListing]:
    """Every task that has a name: Muster's own by file and place in it, then those of other packages."""
    return [listed.listing for listed in _Shelf().everything()]


def task_names() -> list[str]:
    """Names of all tasks, in the order of `list_tasks`."""
    return [listing.name for listing in list_tasks()]


def groups() -> dict[str, list[str]]:
    """Every group with the names of its tasks, groups in alphabetical order."""
    members: dict[str, list[str]] = {}
    for listing in list_tasks():
        for group in listing.groups:
            members.setdefault(group, []).append(listing.name)
    return dict(sorted(members.items()))


def own_groups() -> dict[str, list[str]]:
    """The groups of Muster's own tasks, without a look at other packages."""
    members: dict[str, list[str]] = {}
    for listed in _Shelf().own():
        for group in listed.listing.groups:
            members.setdefault(group, []).append(listed.listing.name)
    return members


def group_names() -> list[str]:
    """Names of all groups, in alphabetical order."""
    return list(groups())


def _from_file(name: str, data: DataFolders) -> list[Task]:
    """The tasks of the file that `name` is a path to, or the one of `FILE:TASK`; none where it isn't a path."""
    path, colon, task = name.rpartition(":")
    if colon and Path(path).suffix.lower() in _FILES and not Path(name).exists():
        found = _from_file(path, data)
        chosen = [each for each in found if each.name == task]
        if not chosen:
            names = [each.name for each in found]
            raise ConfigurationError(
                f"{path} has no task {task!r}{did_you_mean(task, names)} (there are: {', '.join(names)})"
            )
        return chosen
    file = Path(name).expanduser()
    match file.suffix.lower():
        case ".yaml" | ".yml":
            return load_task_file(file, data)
        case ".py":
            return load_python_file(file)
        case _:
            return []


class _Shelf:
    """What can be asked for by name. Other packages are only looked at where Muster's own tasks don't settle it."""

    def __init__(self) -> None:
        self._own: list[_Listed] | None = None
        self._others: list[_Listed] | None = None
        self._broken: list[str] = []

    def own(self) -> list[_Listed]:
        """Tasks of Muster's own catalogue."""
        if self._own is None:
            self._own = [
                listed for file in _task_files(CATALOGUE) for listed in _listed(file, _outline_own(file))
            ]
        return self._own

    def everything(self) -> list[_Listed]:
        """Muster's tasks and those of other packages, which can't take a name that is Muster's."""
        if self._others is None:
            taken = {listed.listing.name for listed in self.own()}
            self._others = []
            for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
                fresh = [listed for listed in self._plugged(point) if listed.listing.name not in taken]
                taken.update(listed.listing.name for listed in fresh)
                self._others.extend(fresh)
        return self.own() + self._others

    def find(self, name: str, data: DataFolders) -> list[Task]:
        """The task of this name, else the tasks of this group, else none."""
        for shelf in (self.own, self.everything):
            for listed in shelf():
                if listed.listing.name == name:
                    return [task for task in listed.load(data) if task.name == name]
        return [
            task
            for listed in self.everything()
            if name in listed.listing.groups
            for task in listed.load(data)
            if task.name == listed.listing.name
        ]

    def unknown(self, name: str) -> str:
        """The message for a name that nothing has."""
        known = {listed.listing.name for listed in self.everything()}
        known.update(group for listed in self.everything() for group in listed.listing.groups)
        broken = "".join(f"\n(it may be in what could not be loaded: {problem})" for problem in self._broken)
        hint = did_you_mean(name, known) or "."
        for file in (Path(f"{name}{suffix}") for suffix in _FILES):
            if file.is_file():
                path = file if file.is_absolute() else f"./{file}"
                hint = f"; did you mean the file {path}?"
        return (
            f"Unknown task or group {name!r}{hint} `muster tasks` lists them; "
            f"a file of your own is given by its path, ending in .yaml or .py.{broken}"
        )

    def _plugged(self, point: EntryPoint) -> list[_Listed]:
        try:
            with ForeignCode():
                return list(_entry_point_tasks(point))
        except Exception as error:  # noqa: BLE001 - another package's code; the tasks of all others still work
            problem = f"entry point {point.name!r} = {point.value!r}: {error}"
            self._broken.append(problem)
            warnings.warn(f"Tasks of another package can't be loaded: {problem}", stacklevel=2)
            return []


def _task_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in {".yaml", ".yml"})


@functools.cache  # the catalogue is a part of the program
def _outline_own(file: Path) -> list[TaskOutline]:
    return outline_task_file(file)


def _listed(file: Path, outlines: Iterable[TaskOutline]) -> Iterator[_Listed]:
    load = partial(_load_once, file, {})  # one parse, however many of the file's tasks are asked for
    for outline in outlines:
        listing = TaskListing(outline.name, outline.groups, outline.description, str(file))
        yield _Listed(listing, load)


def _load_once(file: Path, loaded: dict[Path, list[Task]], data: DataFolders) -> list[Task]:
    if file not in loaded:
        loaded[file] = load_task_file(file, data)
    return loaded[file]


def _built_already(task: Task, _data: DataFolders) -> list[Task]:
    return [task]


def _entry_point_tasks(point: EntryPoint) -> Iterator[_Listed]:
    """An entry point names a package that holds YAML files, or a callable that returns a Task or several."""
    target: object = point.load()
    if isinstance(target, ModuleType) and hasattr(target, "__path__"):
        for folder in target.__path__:
            for file in _task_files(Path(folder)):
                yield from _listed(file, outline_task_file(file))
        return
    if not callable(target):
        raise ConfigurationError("names neither a package with YAML files nor a callable that returns tasks")
    origin = f"entry point {point.name} ({point.value})"
    for task in built_tasks(target, origin):
        task = replace(task, origin=task.origin or origin)  # noqa: PLW2901
        listing = TaskListing(task.name, task.groups, task.description, task.origin)
        yield _Listed(listing, partial(_built_already, task))
