"""The jinja2 of task files: templates that can neither reach out nor draw random numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2.ext import Extension
    from jinja2.sandbox import SandboxedEnvironment


def sandbox(*extensions: type[Extension]) -> SandboxedEnvironment:
    """Strict about undefined names, and without what would make a text random."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, extensions=extensions)
    environment.globals.pop("lipsum")
    environment.filters.pop("random")
    return environment
