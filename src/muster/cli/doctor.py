"""`muster doctor`: what each rank sees, what doesn't fit, and what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from muster.core.saying import tell

if TYPE_CHECKING:
    from muster.doctor.examination import Report
    from muster.engines.placement import Asked


def command(
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out the all_reduce; a process alone then needs no torch.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds that each wait may take: for absent ranks, for the all_reduce.")
    ] = 60.0,
    output: Annotated[Path, typer.Option(help="Where the run folder would be, to check its disk.")] = Path(
        "runs"
    ),
    gpus_per_replica: Annotated[
        int | None, typer.Option(min=1, help="As for `muster run`: check that such replicas can be made.")
    ] = None,
    parallelism: Annotated[
        str | None, typer.Option(help="As for `muster run`: device-map or tensor.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Examine this machine, or under torchrun, accelerate, srun or mpirun all ranks.

    Start it exactly as you start `muster run`. Exit code 0: no errors (there may be warnings), 1: errors.
    """
    import faulthandler

    from muster.core import ConfigurationError

    if timeout <= 0:
        raise ConfigurationError(f"--timeout {timeout:g} must be more than 0 seconds")
    faulthandler.dump_traceback_later(6 * timeout + 120, exit=True)  # should a library hang beyond all limits
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # c10d's stack traces; the report says what matters
    from muster.doctor.examination import examine

    asked = _asked(gpus_per_replica, parallelism)
    report = examine(os.environ, output, timeout=timeout, quick=quick, asked=asked)
    if report is not None:
        _show(report, as_json=json)
    _leave(0 if report is None or report.ok else 1)


def _asked(gpus_per_replica: int | None, parallelism: str | None) -> Asked | None:
    if gpus_per_replica is None and parallelism is None:
        return None
    from muster.config import load_config
    from muster.engines.placement import Asked

    given = {"gpus_per_replica": gpus_per_replica, "parallelism": parallelism}
    return Asked.by(load_config({"model": "any", "tasks": "any", **given}))


def _show(report: Report, *, as_json: bool) -> None:
    """Rank 0's report goes to standard output, the words of another rank to standard error."""
    ranks = report.observations[0].ranks
    if ranks is not None and ranks.rank > 0:
        from muster.doctor.rendering import describe

        here = f"rank {ranks.rank} on {report.observations[0].host}"
        for finding in report.findings:
            tell(f"muster doctor, {here}: {describe(finding, 1).plain}")
        return
    if as_json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    from muster.doctor.rendering import print_report
    from muster.report.console import terminal

    print_report(report, terminal(width=None if sys.stdout.isatty() else 160))


def _leave(status: int) -> NoReturn:
    """End now: threads that are stuck in a driver or a collective must not hold up the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
