"""What one rendering of a template may cost: no template makes a run hang, or fills the memory.

Counted and not timed, so that whether a template passes depends on nothing but the template and its sample.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from jinja2 import nodes

MOST_STEPS = 100_000
"""Turns of loops and calls of macros: a fraction of a second."""
MOST_CHARACTERS = 25_000_000
"""Of all texts that are made on the way; the prompt itself may have a fifth."""
MOST_SHOWN = MOST_CHARACTERS // 5
MOST_BITS = 100_000
"""Of a whole number."""
_T = TypeVar("_T")
_PADDING = frozenset(
    {"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap", "batch", "slice", "round"}
)


class TooMuchError(Exception):
    """A template does more than any prompt needs."""


class Budget:
    """What is left for the text that this thread renders."""

    _here = threading.local()

    def __init__(self) -> None:
        self.steps, self.characters, self.shown = MOST_STEPS, MOST_CHARACTERS, MOST_SHOWN

    @classmethod
    def of_one_text(cls) -> Self:
        """A full one."""
        return cls()

    @classmethod
    def current(cls) -> Budget | None:
        """This thread's; None while a template is only compiled."""
        return getattr(cls._here, "budget", None)

    def __enter__(self) -> Self:
        self._here.budget = self
        return self

    def __exit__(self, *_: object) -> None:
        self._here.budget = None

    def spend_step(self, size: int) -> None:
        """One turn of a loop, whose body holds so many characters."""
        self.steps -= 1
        if self.steps < 0:
            raise TooMuchError(f"it takes more than {MOST_STEPS:,} turns of its loops: are they nested?")
        self.spend(size)

    def spend(self, characters: int) -> None:
        """Characters that are made."""
        self.characters -= characters
        if self.characters < 0:
            raise TooMuchError(f"it makes texts of more than {MOST_CHARACTERS:,} characters")

    def spend_text(self, characters: int) -> None:
        """Characters of the text itself."""
        self.shown -= characters
        if self.shown < 0:
            raise TooMuchError(f"it makes a text of more than {MOST_SHOWN:,} characters")


def step(size: int) -> str:
    """Called by every turn of a loop, and every call of a macro."""
    if (budget := Budget.current()) is not None:
        budget.spend_step(size)
    return ""


def spend_shown(value: _T) -> _T:
    """Count what an expression puts into the text, or into a block."""
    if isinstance(value, str) and (budget := Budget.current()) is not None:
        budget.spend(len(value))
    return value


def spend_made(value: _T) -> _T:
    """Count what an operation, a function or a filter has made."""
    if isinstance(value, str | bytes | list | tuple) and (budget := Budget.current()) is not None:
        budget.spend(len(value))
    return value


def check_operation(operator: str, left: object, right: object) -> None:
    """Raise `TooMuchError` before an operation that would take long, or much."""
    if operator == "*":
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | bytes | list | tuple) and isinstance(times, int):
                _check_size(len(text) * times)
    if operator == "%" and isinstance(left, str | bytes):
        _check_widths(str(left))
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
        if operator in ("*", "**") and bits > MOST_BITS:
            raise TooMuchError(f"it calculates with numbers of more than {MOST_BITS:,} bits")


def check_call(function: Callable[..., object], args: Sequence[object], named: Mapping[str, object]) -> None:
    """The same for a method of a text."""
    function = getattr(function, "__wrapped__", function)  # the sandbox has a `format` of its own
    text = getattr(function, "__self__", None)
    if isinstance(text, str):
        _check_arguments(getattr(function, "__name__", ""), text, args, named)


def bounded_filter(name: str, function: Callable[..., _T]) -> Callable[..., _T]:
    """A filter whose result counts; one that could make too much of little is refused before."""

    @wraps(function)
    def bounded(*args: object, **named: object) -> _T:
        text = next((each for each in args if isinstance(each, str)), "")
        _check_arguments(name, text, args, named)
        return spend_made(function(*args, **named))

    return bounded


def _check_arguments(name: str, text: str, args: Sequence[object], named: Mapping[str, object]) -> None:
    given = [*args, *named.values()]
    if name in _PADDING:
        lines = text.count("\n") + text.count("\t") + 1 if name in ("indent", "expandtabs") else 1
        for number in given:
            if isinstance(number, int):
                _check_size(abs(number) * lines)
    elif name in ("replace", "join", "translate"):
        longest = max((len(each) for each in given if isinstance(each, str)), default=0)
        parts = max((len(each) for each in given if isinstance(each, Sequence)), default=0)
        _check_size((max(len(text), parts) + 1) * (max(1, longest)) if name != "join" else len(text) * parts)
    elif name in ("format", "format_map"):
        _check_widths(text)


def _check_widths(form: str) -> None:
    """Numbers in a format are widths and precisions."""
    digits = "".join(character if character.isdigit() else " " for character in form).split()
    if any(len(number) > 7 for number in digits) or sum(map(int, digits)) > MOST_SHOWN or "*" in form:
        raise TooMuchError(f"it makes texts of more than {MOST_SHOWN:,} characters")


def _check_size(size: int) -> None:
    if size > MOST_SHOWN:
        raise TooMuchError(f"it makes texts of more than {MOST_SHOWN:,} characters")


def count_steps(tree: nodes.Template) -> None:
    """Have every loop, macro and joined text of a template counted."""
    from jinja2 import nodes

    for node in tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock)):
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
            counted = nodes.ImportedName("muster.tasks.template_bounds.step", lineno=node.lineno)
            call = nodes.Call(counted, [nodes.Const(size)], [], None, None, lineno=node.lineno)
            node.body.insert(0, nodes.ExprStmt(call, lineno=node.lineno))
    for joined in tree.find_all(nodes.Concat):
        counted = nodes.ImportedName("muster.tasks.template_bounds.joined", lineno=joined.lineno)
        parts = list(joined.nodes)
        joined.nodes = [nodes.Call(counted, parts, [], None, None, lineno=joined.lineno)]


def joined(*parts: object) -> str:
    """What `~` makes."""
    texts = [str(part) for part in parts]
    _check_size(sum(map(len, texts)))
    return spend_made("".join(texts))
