"""Options of a command that are fields of `RunConfig`: said there once, and read only where the command is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
import typer.main
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

OWN_PANEL = "Also"
"""Where options stand that are the command's own and say nothing else."""


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], fields: Sequence[str] | None = None
) -> None:
    """Add a command whose `**given` are fields of `RunConfig`, as they were typed; None for one that wasn't.

    `fields`: which of them; all without it. `muster --help` shows the command without loading them.
    """

    @cache
    def real() -> Any:  # typer's command, of a type that differs between its releases
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name)(_with_fields(function, fields))
        return typer.main.get_command(alone)

    class WithFields(TyperCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            return [*real().params, *super().get_params(ctx)]

        def invoke(self, ctx: Any) -> Any:
            return ctx.invoke(real().callback, **ctx.params)

        def format_options(self, ctx: Any, formatter: Any) -> None:
            if fields is None:
                _by_panel(self.get_params(ctx), ctx, formatter)
            else:
                super().format_options(ctx, formatter)

    def placeholder() -> None:
        raise NotImplementedError

    placeholder.__doc__ = function.__doc__
    app.command(name, cls=WithFields, context_settings={"max_content_width": 110})(placeholder)


def _with_fields(function: Callable[..., None], fields: Sequence[str] | None) -> Callable[..., None]:
    """The function with a parameter for each field in place of its `**given`, for typer to read."""
    from muster.config import RunConfig

    hints = get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    known = RunConfig.model_fields
    shared = [_parameter(name, known[name]) for name in (fields or known)]
    parameters = [*own, *shared] if fields else [*shared, *own]

    def call(**values: object) -> None:
        function(**values)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    call.__doc__ = function.__doc__
    return call


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    extra = field.json_schema_extra
    panel = str(extra["panel"]) if isinstance(extra, dict) else OWN_PANEL
    option = f"--{name.replace('_', '-')}"
    text = _help(field)
    kind: Any
    if field.annotation is bool:
        kind, setting = bool | None, typer.Option(option, help=text, rich_help_panel=panel)
    else:
        kind = Path | None if _is_path(field) else str | None
        setting = typer.Option(option, help=text, rich_help_panel=panel, metavar=_metavar(field))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, setting]
    )


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if (
        field.is_required()
        or field.default_factory is not None
        or field.default is None
        or field.default is False
    ):
        return text
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    return f"{text.removesuffix('.')} (default {default})."


def _metavar(field: FieldInfo) -> str:
    """What stands for the value: the words to choose from, or what kind of thing it is."""
    leaves = list(_leaves(field.annotation))
    words = [word for leaf in leaves if get_origin(leaf) is Literal for word in get_args(leaf)]
    kinds = {int: "N", float: "NUMBER", Path: "PATH", dict: "NAME=VALUE,…", list: "NAME,…"}
    found = [
        kinds[leaf] for leaf in dict.fromkeys(get_origin(leaf) or leaf for leaf in leaves) if leaf in kinds
    ]
    return "|".join([*found, *words]) or "TEXT"


def _is_path(field: FieldInfo) -> bool:
    return set(_leaves(field.annotation)) <= {Path, type(None)}


def _leaves(annotation: Any) -> list[Any]:
    """The members of a union, without what is annotated to them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _leaves(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [leaf for member in get_args(annotation) for leaf in _leaves(member)]
    return [annotation]


def _by_panel(parameters: Sequence[Any], ctx: Any, formatter: Any) -> None:
    """The options in panels, in the order of `Panel`; what belongs to none of them last."""
    from muster.config import Panel

    groups: dict[str, list[tuple[str, str]]] = {panel: [] for panel in (*get_args(Panel), OWN_PANEL)}
    for parameter in parameters:
        if (record := parameter.get_help_record(ctx)) is not None:
            groups[getattr(parameter, "rich_help_panel", None) or OWN_PANEL].append(record)
    for panel, records in groups.items():
        if records:
            formatter.write(_framed(panel, records, formatter))


def _framed(title: str, records: Sequence[tuple[str, str]], formatter: Any) -> str:
    """A panel as rich draws it, without importing rich: its import takes longer than all the rest of the help."""
    inner = type(formatter)(width=formatter.width - 4)
    inner.write_dl(records, col_max=28)
    width = formatter.width - 4
    lines = [f"│ {line:<{width}} │\n" for line in inner.getvalue().splitlines()]
    return f"\n╭─ {title} {'─' * (width - len(title) - 1)}╮\n{''.join(lines)}╰{'─' * (width + 2)}╯\n"
