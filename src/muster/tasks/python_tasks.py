"""Tasks that Python builds: a user's own file, or another package's entry point."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from muster.core import ConfigurationError
from muster.core.foreign_code import ForeignCode
from muster.tasks.definition import Task


def load_python_file(file: Path) -> list[Task]:
    """Run a Python file and call its `tasks()`, which returns a `Task` or several.

    Raises:
        ConfigurationError: there is no such file, it raises, or it has no such function.
    """
    if not file.is_file():
        raise ConfigurationError(f"No such task file: {file}")
    name = f"muster_tasks_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{file}: can't be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        with ForeignCode():
            spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        raise ConfigurationError(f"{file}{_line_in(file, error)}: {type(error).__name__}: {error}") from error
    build = getattr(module, "tasks", None)
    if not callable(build):
        raise ConfigurationError(f"{file}: has no function `tasks()` that returns a Task or a list of them")
    return [replace(task, origin=task.origin or str(file)) for task in built_tasks(build, str(file), file)]


def built_tasks(build: Callable[[], object], origin: str, file: Path | None = None) -> list[Task]:
    """The tasks that `build()` returns, checked to be tasks. `origin` names it in messages."""
    try:
        with ForeignCode():
            built = build()
            tasks = (
                [built]
                if isinstance(built, Task)
                else list(built)
                if isinstance(built, Iterable)
                else [built]
            )
    except ConfigurationError:
        raise
    except Exception as error:  # the user's code may raise anything
        where = _line_in(file, error) if file else ""
        raise ConfigurationError(f"{origin}{where}: {type(error).__name__}: {error}") from error
    checked = [task for task in tasks if isinstance(task, Task)]
    if len(checked) < len(tasks) or not tasks:
        kinds = ", ".join(sorted({type(task).__name__ for task in tasks})) or "nothing"
        raise ConfigurationError(f"{origin}: has to return a Task or a list of them; it returned {kinds}")
    if twice := [name for name, count in Counter(task.name for task in checked).items() if count > 1]:
        raise ConfigurationError(f"{origin}: several tasks are named {', '.join(map(repr, twice))}")
    return checked


def _line_in(file: Path, error: Exception) -> str:
    """`:LINE` of the user's file at which `error` arose, where it was there."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.lineno else ""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line
