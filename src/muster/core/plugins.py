"""Objects of somebody else's Python, by name: `package.module:name` or `./file.py:name`.

For the parts of Muster that users may bring themselves: backends, engines.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from muster.core.errors import ConfigurationError, MusterError
from muster.core.foreign_code import ForeignCode
from muster.core.text import did_you_mean


def import_object(reference: str, what: str) -> Callable[..., Any]:
    """The callable that a reference names. `what`: `backend`, `engine`; for messages.

    Raises:
        ConfigurationError: there is none, its module can't be imported or needs a package that isn't there.
    """
    module_name, _, attribute = reference.rpartition(":")
    module = _import_module(module_name, f"{what} {reference}")
    found = getattr(module, attribute, None)
    if not callable(found):
        candidates = [key for key, value in vars(module).items() if callable(value) and key[:1] != "_"]
        raise ConfigurationError(
            f"{what} {reference}: {module_name} has no {attribute!r}{did_you_mean(attribute, candidates)}"
        )
    return found  # type: ignore[no-any-return]


def add_working_directory() -> None:
    """Such a module may lie beside the user's work, as for python -m; at the end, so that it shadows nothing."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def _import_module(name: str, reference: str) -> ModuleType:
    if not name:
        raise ConfigurationError(f"{reference} lacks its module: write module:NAME or ./file.py:NAME")
    try:
        if name.endswith(".py") or "/" in name:
            return _import_file(Path(name).expanduser(), reference)
        add_working_directory()
        with ForeignCode():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"{reference}: there is no module {name!r}; "
                "it must be installed, in the working directory, or given as ./file.py:NAME"
            ) from error
        raise ConfigurationError(f"{reference} needs a package that isn't installed: {error.name}") from error
    except MusterError:
        raise
    except Exception as error:
        raise _broken(reference, name, error) from error


def _broken(reference: str, module: object, error: Exception) -> ConfigurationError:
    where = traceback.format_exc(limit=-1)
    return ConfigurationError(
        f"{reference}: {module} could not be imported: {type(error).__name__}: {error}\n{where}"
    )


def _import_file(path: Path, reference: str) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"{reference}: there is no file {path}")
    spec = spec_of_file(path, reference)
    try:
        with ForeignCode():
            return module_of(spec)
    except ModuleNotFoundError:
        raise  # explained by the caller
    except Exception as error:
        raise _broken(reference, path, error) from error


def spec_of_file(path: Path, reference: str) -> ModuleSpec:
    """How a file is loaded as a module, equal for every call. Raises `ConfigurationError` where it isn't Python."""
    spec = importlib.util.spec_from_file_location(
        f"muster_own_{path.stem}_{abs(hash(path.resolve())):x}", path
    )
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{reference}: {path} is not a Python file (its name must end in .py)")
    return spec


def module_of(spec: ModuleSpec) -> ModuleType:
    """The module, loaded once. Raises whatever its code raises: to be called in `ForeignCode`."""
    if spec.name in sys.modules:
        return sys.modules[spec.name]
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
