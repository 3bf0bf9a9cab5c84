"""Imports VLMEvalKit without importing all of its models.

`vlmeval/__init__.py` imports its command line, that imports `vlmeval.config`, and that imports every wrapper with
whatever it needs. Here the command line is left out; `vlmeval.vlm` and `vlmeval.api` import a wrapper when its name is
first used; and `vlmeval.config` is given names in place of classes, of which one becomes a class when it is called.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from muster_toolkit_wire import RefusedError, described

PACKAGES = ("vlmeval.vlm", "vlmeval.api")


class Place(NamedTuple):
    """Where a class is."""

    module: str
    name: str


class _Lazy(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Packages whose `__init__` runs without the relative imports of names that it consists of."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        if not name.startswith(PACKAGES):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.submodule_search_locations is not None and spec.has_location:
            spec.loader = self
            return spec
        return None

    def create_module(self, spec: Any) -> None:  # noqa: ARG002
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        file = str(module.__file__)
        with open(file, encoding="utf-8") as stream:  # noqa: PTH123
            tree = ast.parse(stream.read(), file)
        places = _places(tree, module.__name__)
        tree.body = [each for each in tree.body if not _is_relative(each)]

        def find(name: str) -> Any:
            if name not in places:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            found = _at(places[name])
            setattr(module, name, found)
            return found

        module.__dict__.update(__getattr__=find, MUSTER_PLACES=places)
        exec(compile(tree, file, "exec"), module.__dict__)  # noqa: S102 - the package's own lines


def _is_relative(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.ImportFrom)
        and node.level == 1
        and node.module is not None
        and all(each.name != "*" for each in node.names)
    )


def _places(tree: ast.Module, package: str) -> Mapping[str, Place]:
    return {
        each.asname or each.name: Place(f"{package}.{node.module}", each.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and _is_relative(node)
        for each in node.names
    }


def _at(place: Place) -> Any:
    return getattr(importlib.import_module(place.module), place.name)


class _Named:
    """A wrapper that nobody has imported yet; calling it does both."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def __call__(self, *args: Any, **options: Any) -> Any:
        return _at(self.place)(*args, **options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_at(self.place), name)


def import_vlmevalkit(checkout: str | None, *parts: str) -> Any:
    """The package `vlmeval`, and modules of it, without its command line.

    Raises `RefusedError` where it, or what it needs, isn't there.
    """
    if checkout:
        sys.path.insert(0, os.path.abspath(os.path.expanduser(checkout)))  # noqa: PTH100, PTH111
    if not any(isinstance(each, _Lazy) for each in sys.meta_path):
        sys.meta_path.insert(0, _Lazy())
    tools: Any = types.ModuleType("vlmeval.tools")
    tools.cli = None
    sys.modules["vlmeval.tools"] = tools
    try:
        package = importlib.import_module("vlmeval")
        for part in parts:
            importlib.import_module(f"vlmeval.{part}")
    except ImportError as error:
        raise RefusedError(
            f"VLMEvalKit can't be imported by {sys.executable} ({missing(error) or described(error)}); "
            "--vlmevalkit-path names a checkout, --vlmevalkit-python the environment that has what it needs"
        ) from error
    finally:
        if sys.modules.get("vlmeval.tools") is tools:
            del sys.modules["vlmeval.tools"]
    return package


def supported_models() -> Mapping[str, Callable[..., Any]]:
    """VLMEvalKit's models by name, none of which is imported. `import_vlmevalkit` comes first."""
    real = {name: importlib.import_module(name) for name in PACKAGES}
    package = sys.modules["vlmeval"]
    for name, module in real.items():
        places: Mapping[str, Place] = module.MUSTER_PLACES
        named: Any = types.ModuleType(name)
        named.__dict__.update({each: _Named(place) for each, place in places.items()})
        named.__all__ = [each for each in places if not each.startswith("_")]
        sys.modules[name] = named
        setattr(package, name.rpartition(".")[2], named)
    try:
        return dict(importlib.import_module("vlmeval.config").supported_VLM)
    finally:
        for name, module in real.items():
            sys.modules[name] = module
            setattr(package, name.rpartition(".")[2], module)


def missing(error: BaseException) -> str:
    """Of an error that comes from a package that isn't there, or an unfit one: which. Empty for others."""
    seen: set[int] = set()
    chain: BaseException | None = error
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        if isinstance(chain, ModuleNotFoundError) and chain.name:
            return f"the Python package {chain.name!r} isn't there"
        if isinstance(chain, ImportError):
            said = " ".join(str(chain).split())[:300]
            return f"a Python package is there in another release than it needs: {said}"
        chain = chain.__cause__ or chain.__context__
    return ""
