"""Importing transformers, and nothing that only its training needs.

With the classes that load a model come its losses, and with those scipy's optimizers: a tenth of all that is imported,
for one function (`linear_sum_assignment`) that no answer needs. It is imported when somebody calls it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from types import ModuleType

from muster.models.transformers.compiler import no_compiler


def import_transformers() -> None:
    """Import what loads models and processors. What can't be imported is told by whoever needs it."""
    with no_compiler(), called_later("scipy.optimize", "linear_sum_assignment"), suppress(ImportError):
        from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationMixin  # noqa: F401


@contextmanager
def called_later(module: str, function: str) -> Iterator[None]:
    """In this context `from MODULE import FUNCTION` gives a function that imports the module when it is called.

    Whatever else is asked of the module imports it at once. Without effect where it is imported already, or is missing.
    """
    spec = None if module in sys.modules else _found(module)
    if spec is None:
        yield
        return
    stand_in = _StandIn(spec, function)
    sys.modules[module] = stand_in
    try:
        yield
    finally:
        stand_in.go()


def _found(module: str) -> ModuleSpec | None:
    with suppress(ImportError):  # its package is missing
        return importlib.util.find_spec(module)
    return None


class _StandIn(ModuleType):
    """A module that isn't imported yet."""

    def __init__(self, spec: ModuleSpec, function: str) -> None:
        super().__init__(spec.name)
        self.__file__ = spec.origin
        if spec.submodule_search_locations is not None:  # what is imported of it by name is imported
            self.__path__ = list(spec.submodule_search_locations)
        self.__dict__[function] = self._later(function)

    def go(self) -> None:
        """Leave the place to the module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def _real(self) -> ModuleType:
        self.go()
        return importlib.import_module(self.__name__)

    def _later(self, function: str) -> object:
        def later(*args: object, **named: object) -> object:
            return getattr(self._real(), function)(*args, **named)

        return later

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__all__":  # asked by Python itself
            raise AttributeError(name)
        return getattr(self._real(), name)
