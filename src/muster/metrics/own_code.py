"""Metrics of the user's own: a class in a file, or in a module that lies beside the task file or the work."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from muster.core import ConfigurationError, MusterError
from muster.core.foreign_code import ForeignCode
from muster.core.plugins import add_working_directory, module_of, spec_of_file


def load_own(name: str, folder: Path | None) -> object:
    """What `module:Class` or `./file.py:Class` names.

    A file is looked for in `folder`, which is the task file's, then in the working directory. A module is a file of
    that name in `folder`, else whatever Python can import, also from the working directory.

    Raises:
        ConfigurationError: there is no such file or module, it raises, or it has no such class.
    """
    module_name, _, attribute = name.rpartition(":")
    try:
        with ForeignCode():
            module = _module(module_name, folder)
    except MusterError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"metric {name!r}: there is no module {module_name!r}. It must be importable from here (beside the "
                "task file, in the working directory, or installed), or be given as ./file.py:Class"
            ) from error
        raise ConfigurationError(
            f"metric {name!r} needs a package that isn't installed: {error.name}"
        ) from error
    except Exception as error:  # somebody else's code
        where = traceback.format_exc(limit=-1)
        raise ConfigurationError(
            f"metric {name!r}: {module_name} could not be imported: {type(error).__name__}: {error}\n{where}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ConfigurationError(f"metric {name!r}: {error}. The form is module:Class") from error


def _module(name: str, folder: Path | None) -> ModuleType:
    places = [*([folder] if folder is not None else []), Path.cwd()]
    if name.endswith(".py") or "/" in name:
        path = Path(name).expanduser()
        found = next((place / path for place in places if (place / path).is_file()), None)
        if found is None:
            raise ConfigurationError(
                f"metric {name}: there is no such file in {' or '.join(map(str, places))}"
            )
        return _from_file(found)
    beside = folder / f"{name.replace('.', '/')}.py" if folder is not None and name else None
    if beside is not None and beside.is_file():
        return _from_file(beside)
    add_working_directory()
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """The module in a file. What lies beside it can be imported by it."""
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    return module_of(spec_of_file(path, "metric"))
