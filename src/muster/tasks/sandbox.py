"""The jinja2 of task files: templates that can neither reach out nor draw random numbers, and that come to an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from functools import cache
from typing import TYPE_CHECKING

from muster.tasks.template_bounds import Budget

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.ext import Extension
    from jinja2.sandbox import SandboxedEnvironment


def sandbox(*extensions: type[Extension]) -> SandboxedEnvironment:
    """Strict about undefined names, without what would make a text random, and bounded (`rendered`)."""
    from jinja2 import StrictUndefined

    environment = _bounded()(undefined=StrictUndefined, extensions=extensions)
    environment.globals.pop("lipsum")
    environment.filters.pop("random")
    return environment


def rendered(template: Template, variables: Mapping[str, object]) -> str:
    """The text of a template of `sandbox`.

    Raises whatever its expressions do, and `TooMuchError` for one that does more than `template_bounds` allows.
    """
    with Budget.of_one_text() as budget:
        parts: list[str] = []
        for part in template.generate(variables):
            budget.spend_text(len(part))
            parts.append(part)
        return "".join(parts)


@cache
def _bounded() -> Callable[..., SandboxedEnvironment]:
    """The class, made on first use: jinja2 is imported only where there are templates."""
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from muster.tasks import template_bounds as bounds

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**", "+", "%"))

        def __init__(self, **options: object) -> None:
            super().__init__(**options, finalize=bounds.spend_shown)
            for name in self.filters:
                self.filters[name] = bounds.bounded_filter(name, self.filters[name])

        def make_globals(self, d: MutableMapping[str, object] | None) -> MutableMapping[str, object]:
            """One dictionary: the chain of two that jinja2 makes is copied by every rendering, and slowly."""
            return {**self.globals, **(d or {})}

        def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
            tree = super()._parse(source, name, filename)
            bounds.count_steps(tree)
            return tree

        def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
            bounds.check_operation(operator, left, right)
            return bounds.spend_made(super().call_binop(context, operator, left, right))  # type: ignore[arg-type]

        def call(
            self, context: object, function: Callable[..., object], *args: object, **named: object
        ) -> object:
            bounds.check_call(function, args, named)
            return bounds.spend_made(super().call(context, function, *args, **named))  # type: ignore[arg-type]

    return Bounded
