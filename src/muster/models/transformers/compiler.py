"""torch's compiler (`torch._dynamo`) stays away until somebody wants it.

transformers imports it to say of five functions how it is to treat them, and torch when a layer is made without memory,
to keep it off what fills the weights: a tenth of all that a model's process imports, for a compiler that isn't used.
What it would have been told it is told when it comes.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")
F = Callable[..., object]

COMPILER = "torch._dynamo"
_MARKS = ("assume_constant_result", "allow_in_graph")
"""Its decorators that return the function they are given."""
_ALONE = (f"{COMPILER}._trace_wrapped_higher_order_op",)
"""Its modules that need none of the others; transformers' masks use one."""


@contextmanager
def no_compiler() -> Iterator[None]:
    """In this context torch's compiler is imported only for those who want more of it than to mark functions."""
    if COMPILER in sys.modules or (stand_in := _stand_in()) is None:
        yield
        return
    sys.modules[COMPILER] = stand_in
    try:
        yield
    finally:
        stand_in.go()


@cache
def _stand_in() -> _StandIn | None:
    """The process's one, whose finder stays until the compiler comes; None where torch is missing."""
    try:
        spec = importlib.util.find_spec(COMPILER)
    except ImportError:
        return None
    if spec is None:
        return None
    stand_in = _StandIn(spec)
    sys.meta_path.insert(0, stand_in.finder)
    return stand_in


class _StandIn(ModuleType):
    """The compiler as long as it isn't imported."""

    def __init__(self, spec: ModuleSpec) -> None:
        super().__init__(COMPILER)
        self.__path__ = list(spec.submodule_search_locations or ())
        self.finder = _Finder(self)
        for mark in _MARKS:
            self.__dict__[mark] = self.finder.noting(mark)
        self.disable = _disable

    def go(self) -> None:
        """Leave the place to the compiler itself."""
        if sys.modules.get(COMPILER) is self:
            del sys.modules[COMPILER]

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__all__":  # asked by Python itself
            raise AttributeError(name)
        self.go()
        return getattr(importlib.import_module(COMPILER), name)


def _disable(function: F | None = None, *args: object, **named: object) -> object:
    """The compiler's decorator of the same name: a function that it leaves alone, once it is there."""
    if function is None:
        return lambda given: _disable(given, *args, **named)
    disabled: list[F] = []

    @wraps(function)
    def either(*given: object, **by_name: object) -> object:
        compiler = sys.modules.get(COMPILER)
        if compiler is None or isinstance(compiler, _StandIn):
            return function(*given, **by_name)
        if not disabled:
            disabled.append(compiler.disable(function, *args, **named))
        return disabled[0](*given, **by_name)

    return either


class _Finder(MetaPathFinder, Loader):
    """Sees the compiler come: tells it what was noted, and leaves it all its modules but those that stand alone."""

    def __init__(self, stand_in: _StandIn) -> None:
        self._stand_in = stand_in
        self._noted: list[tuple[str, object]] = []

    def noting(self, mark: str) -> Callable[[T], T]:
        """Stands for one of `_MARKS`."""

        def note(function: T) -> T:
            self._noted.append((mark, function))
            return function

        return note

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """That of the compiler, and of one of its modules that was imported with it."""
        del path, target
        if fullname == COMPILER:
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec(COMPILER)
            if spec is not None and spec.loader is not None:
                spec.loader.exec_module = self._then_tell(spec.loader.exec_module)  # type: ignore[assignment, method-assign]
            return spec
        if not fullname.startswith(f"{COMPILER}.") or fullname in _ALONE:
            return None
        self._stand_in.go()
        importlib.import_module(fullname)
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The one that is there."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """It has been."""

    def _then_tell(self, run: Callable[[ModuleType], None]) -> Callable[[ModuleType], None]:
        def run_and_tell(module: ModuleType) -> None:
            run(module)
            for alone in _ALONE:
                if alone in sys.modules:
                    setattr(module, alone.rpartition(".")[2], sys.modules[alone])
            for mark, function in self._noted:
                getattr(module, mark)(function)

        return run_and_tell
