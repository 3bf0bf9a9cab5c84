"""How a task file refers to what a row holds: a column, a path into one, or a template over all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, TypeAlias

from muster.core.numbers import whole
from muster.tasks.sandbox import rendered, sandbox
from muster.tasks.sources.absent import absent
from muster.tasks.yaml_lines import as_mapping

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import SandboxedEnvironment

Cells: TypeAlias = "Mapping[str, object]"

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\*|\d+)\]")
_ROOT = re.compile(r"[^.\[\]]+")
WHOLE_ROW = "row"
"""The name that a template has for all columns: `row["l2-category"]`."""


@dataclass(frozen=True, slots=True)
class ColumnReference:
    """A column by its exact name, else a path: `image.width`, `conversations[0].value`, `answers[*].answer`."""

    text: str

    @property
    def columns(self) -> frozenset[str]:
        """What a row must have for this to mean something: the name itself, or the path's root."""
        return frozenset({_split(self.text).root})

    def value(self, cells: Cells) -> object:
        """What the row holds there; None where it holds nothing. Raises `ValueError` where the path can't be gone."""
        if self.text in cells:
            return cells[self.text]
        path = _split(self.text)
        return _follow(cells.get(path.root), path.steps, path.root)


@dataclass(frozen=True, slots=True)
class TemplateReference:
    """A sandboxed jinja2 template over the row's columns; what is absent is an empty text."""

    text: str

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it names, but for those it asks for through `row`."""
        return _undeclared(self.text) - {WHOLE_ROW}

    def value(self, cells: Cells) -> object:
        """The rendered text, None where it is empty. Raises `ValueError` where the row lacks what it names."""
        known = {name: "" if absent(value) else whole(value) for name, value in cells.items()}
        try:
            return rendered(_compiled(self.text), {**known, WHOLE_ROW: known}) or None
        except Exception as error:  # a template runs arbitrary expressions over the row
            raise ValueError(f"the template can't be rendered: {error}") from error


Reference: TypeAlias = "ColumnReference | TemplateReference"


def parse_reference(text: str) -> Reference:
    """A template where there are jinja2's braces, else a column or a path. Raises `ValueError` for neither."""
    if is_template(text):
        return parse_template(text)
    if not text.strip():
        raise ValueError("is empty; name a column")
    return ColumnReference(text)


def parse_template(text: str) -> TemplateReference:
    """The text as a template. Raises `ValueError` where it isn't one."""
    from jinja2 import TemplateSyntaxError

    try:
        _environment().from_string(text)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno} of the template: {error.message}") from error
    return TemplateReference(text)


def is_template(text: str) -> bool:
    """Whether a text holds jinja2's braces."""
    return "{{" in text or "{%" in text


@dataclass(frozen=True, slots=True)
class _Path:
    root: str
    steps: tuple[str | int | None, ...]
    """Names, list positions, and None for every item of a list."""


@lru_cache(maxsize=1024)
def _split(text: str) -> _Path:
    """A name that can't be read as a path is a column of exactly that name."""
    root = _ROOT.match(text)
    if root is None:
        return _Path(text, ())
    steps: list[str | int | None] = []
    position = root.end()
    while step := _STEP.match(text, position):
        name, index = step[1], step[2]
        steps.append(name if name is not None else None if index == "*" else int(index))
        position = step.end()
    return _Path(root[0], tuple(steps)) if position == len(text) else _Path(text, ())


def _follow(value: object, steps: tuple[str | int | None, ...], where: str) -> object:
    for number, step in enumerate(steps):
        if absent(value):
            return None
        if isinstance(step, str):
            holder = as_mapping(value)
            if holder is None:
                raise ValueError(f"{where} is no object with a field {step!r}")
            value, where = holder.get(step), f"{where}.{step}"
            continue
        if not isinstance(value, list):
            raise ValueError(f"{where} is no list")
        if step is None:
            return [_follow(item, steps[number + 1 :], f"{where}[*]") for item in value]
        value, where = value[step] if step < len(value) else None, f"{where}[{step}]"
    return value


@lru_cache(maxsize=256)
def _undeclared(text: str) -> frozenset[str]:
    from jinja2 import meta

    environment = _environment()
    return frozenset(meta.find_undeclared_variables(environment.parse(text))) - environment.globals.keys()


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _environment().from_string(text)


@cache
def _environment() -> SandboxedEnvironment:
    return sandbox()
