"""`muster gate`: may this run pass? And `muster gate plan`: could the policy tell?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from muster.gate.decision import Decision
    from muster.gate.power_plan import PlannedClaim


class _CheckByDefault(TyperGroup):
    """`muster gate POLICY RUN` is `muster gate check POLICY RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `check` before what names no command."""
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["check", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=_CheckByDefault,
    no_args_is_help=True,
    help="Decide by a policy whether a run may pass: `muster gate policy.yaml RUN --baseline RUN`. "
    "Exit codes: 0 GO, 1 NO-GO, 2 INCONCLUSIVE.",
    rich_markup_mode=None,
)


@app.command("check")
def check(
    policy: Annotated[Path, typer.Argument(help="The policy, a YAML file (docs/gating.md).")],
    run: Annotated[Path, typer.Argument(help="A run folder, or results of another tool.")],
    baseline: Annotated[Path | None, typer.Option(help="The run that it must not be worse than.")] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Decide by the samples that both runs have.")
    ] = False,
    predictions_of: Annotated[
        str | None,
        typer.Option(
            help="Score RUN and baseline, where files, as predictions for this task.", metavar="TASK"
        ),
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Write a Markdown summary to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON.")] = False,
) -> None:
    """Decide: exit code 0 (GO), 1 (NO-GO) or 2 (INCONCLUSIVE; also for a mistake in what was given)."""
    from muster.cli.showing import phases_shown
    from muster.core import RunError
    from muster.gate import reports
    from muster.gate.decision import decide
    from muster.gate.policy import Policy
    from muster.result_files.reading import read_run
    from muster.results.files import replacing

    asked = Policy.load(policy)
    with phases_shown():
        before = None if baseline is None else read_run(baseline, predictions_of)
        decision = decide(asked, read_run(run, predictions_of), before, common=common)
    for path, content in ((junit, reports.junit(decision)), (summary, reports.markdown(decision).encode())):
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunError(f"cannot write {path}: {error.strerror}") from error
            with replacing(path) as temporary:
                temporary.write_bytes(content)
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(decision)).decode() + "\n")
    else:
        _show(decision)
    raise typer.Exit(decision.exit_code)


@app.command("plan")
def plan(
    policy: Annotated[Path, typer.Argument(help="The policy.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="A run on the same samples, for their number and images; two, for how often such runs differ too."
        ),
    ] = None,
    samples: Annotated[
        list[str] | None, typer.Option(help="TASK=NUMBER of independent samples, where there is no run.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Say which power the policy's claims have with the samples at hand, and how many samples they would need."""
    from muster.core import ConfigurationError
    from muster.gate.policy import Policy
    from muster.gate.power_plan import TaskAtHand, at_hand_in, plan_power
    from muster.result_files.reading import read_run

    asked = Policy.load(policy)
    at_hand = at_hand_in([read_run(path) for path in run]) if run else {}
    for each in samples or ():
        name, _, number = each.partition("=")
        if not (number.isascii() and number.isdigit() and len(number) < 9 and int(number)):
            raise ConfigurationError(
                f"--samples {each}: write TASK=NUMBER, such as mmmu_val=900, of up to 99,999,999 samples"
            )
        at_hand[name] = TaskAtHand(int(number), float(number))
    if not at_hand:
        raise ConfigurationError("say what samples there will be: --run RUN, or --samples mmmu_val=900")
    planned = plan_power(asked, at_hand)
    if not planned:
        raise ConfigurationError("the policy has no max_drop rule for these tasks; only those can be planned")
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(planned)).decode() + "\n")
    else:
        _show_plan(planned, asked.power)


def _show(decision: Decision) -> None:
    from muster.core.text import printable

    marks = {"holds": "✓", "broken": "✗", "open": "?"}
    for each in decision.findings:
        tier = "" if each.tier == "critical" else f" [{each.tier}]"
        typer.echo(printable(f"{marks[each.outcome]} {each.claim}{tier}\n    {each.sentence}"))
    typer.echo(decision.verdict)


def _show_plan(planned: list[PlannedClaim], power: float) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from muster.report.console import terminal

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("claim", "samples", "differ", "GO if unchanged", "NO-GO if twice as bad", "samples needed"):
        table.add_column(title, justify="left" if title == "claim" else "right")
    for each in planned:
        count = (
            f"{each.samples:,}"
            if round(each.effective) >= each.samples
            else f"{each.samples:,} (as {each.effective:,.0f})"
        )
        table.add_row(
            Text(each.claim),
            count,
            f"{each.disagreement:.1%}",
            Text(f"{each.go_if_unchanged:.1%}", style="" if each.enough else "bold red"),
            f"{each.no_go_if_twice:.1%}",
            "–" if each.needed is None else f"{each.needed:,}",
        )
    console = terminal(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    weak = sum(not each.enough for each in planned)
    typer.echo(
        f"{weak} of {len(planned)} claims have less than {power:.0%} power to say GO when nothing has changed."
        if weak
        else f"Every claim has at least {power:.0%} power to say GO when nothing has changed."
    )
