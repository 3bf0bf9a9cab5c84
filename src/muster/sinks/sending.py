"""Sending runs to trackers, whose failure is told and costs nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from muster.core import MusterError
from muster.core.foreign_code import ForeignCode
from muster.core.own_python import own_module
from muster.core.phases import phase
from muster.results.folder import RunFolder
from muster.results.redaction import redact_text
from muster.sinks.record import record_of
from muster.sinks.registry import Sink, load_sink

Say = Callable[[str], None]

PATIENCE_S = 600.0
"""What the trackers of one run may take altogether at its end."""


def send(folder: RunFolder, sinks: Sequence[Sink], step: int, say: Say, *, report: bool = True) -> bool:
    """Send a run with scores to trackers, and say of each where it went or why it didn't. Whether all went well.

    `report`: make the run's report, and send it along.

    Raises:
        ConfigurationError: it is no run folder, or has no scores yet.
    """
    record_of(folder, step)  # before the report is made
    with tempfile.TemporaryDirectory(prefix="muster-report-") as made:
        files = _report(folder, Path(made), say) if report else []
        record = record_of(folder, step, files)
        well = True
        for sink in sinks:
            try:
                with phase(f"sending to {sink}"), ForeignCode():
                    where = load_sink(sink)(record, sink.target)
            except Exception as error:  # noqa: BLE001  of somebody else's library, about somebody else's server
                say(redact_text(f"not sent to {sink}: {type(error).__name__}: {error}"))
                well = False
            else:
                say(f"sent to {sink}: {where}")
        return well


def send_apart(folder: RunFolder, sinks: Sequence[Sink], step: int, say: Say) -> None:
    """The same in a process of its own, which may die, hang or print what it likes: the run has its results."""
    words = [word for sink in sinks for word in ("--to", str(sink))]
    command = own_module("muster", "send", str(folder.root), *words, "--step", str(step))
    again = f"`muster send {folder.root} --to {','.join(map(str, sinks))}` sends it again"
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        say(f"not sent to {', '.join(map(str, sinks))}: {error}; {again}")
        return
    try:
        said, _ = child.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        say(f"not sent to {', '.join(map(str, sinks))} within {PATIENCE_S:.0f} s; {again}")
        return
    finally:
        _end(child)
    for line in said.splitlines()[-20:]:
        say(line)
    if child.returncode:
        say(f"the results are in {folder.root} all the same; {again}")


def _end(child: subprocess.Popen[str]) -> None:
    """With what it has started: libraries of trackers have processes of their own."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _report(folder: RunFolder, into: Path, say: Say) -> list[Path]:
    from muster.report.page.build import write_report

    target = into / "report.html"
    try:
        with phase("making the report"):
            write_report([folder.root], target)
    except (MusterError, OSError) as error:
        say(f"sent without a report: {error}")
        return []
    return [target]
