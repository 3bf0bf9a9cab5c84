"""`muster tasks`: list the tasks, show one, check one against its data, start a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from muster.cli.tasks import check, new, of_toolkit, show

if TYPE_CHECKING:
    from typer._click import Command, Context

_SHOW = "show"


class _NamesToo(TyperGroup):
    """A word that is no subcommand is the name of a task: `muster tasks digits`."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [_SHOW, *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_NamesToo,
    help="List the tasks, or show one: source, prompt, metric and its variant, generation defaults.",
    invoke_without_command=True,
    subcommand_metavar="[NAME | check | new]",
)


@app.callback()
def root(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(help="Another toolkit's catalogue: lmms-eval or vlmevalkit (docs/other-catalogues.md)."),
    ] = None,
    only: Annotated[str, typer.Option(help="With --source: a pattern, such as 'mmmu*'.")] = "",
    python: Annotated[
        str | None, typer.Option(help="With --source: the Python that has it (default: Muster's own).")
    ] = None,
    include_path: Annotated[
        str | None, typer.Option(help="With --source lmms-eval: folders of your own tasks.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="With --source vlmevalkit: a checkout of it.")] = None,
) -> None:
    """Without a word, the list."""
    if context.invoked_subcommand is None:
        if source is None:
            show.list_all()
        else:
            of_toolkit.list_of(source, only, python, include_path, path)


app.command(_SHOW, hidden=True)(show.command)
app.command("check")(check.command)
app.command("new")(new.command)
