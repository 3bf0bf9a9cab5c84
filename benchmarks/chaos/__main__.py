"""The table of faults survived.

    python -m benchmarks.chaos --runs 20                             # all engines, all faults: hours on two cores
    python -m benchmarks.chaos --engines local --faults kill-worker  # one row
    python -m benchmarks.chaos --runs 20 --continue                  # goes on with what the file of outcomes lacks
    python -m benchmarks.chaos --runs 20 --report --outcomes benchmarks/RESULTS-chaos.jsonl  # only writes the table

The table is written beside the outcomes: build/chaos.md, or RESULTS-chaos.md with those that are kept here.

Needs root (network namespaces, a small disk). Runs whatever the demo model has answered, recorded at the start, with
real processes, connections and files; `--model demo` runs the demo model itself. Exits 1 if anything was lost, scored
twice or differently, or didn't end by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.chaos import attempts
from benchmarks.chaos.attempts import LAUNCHER_SECONDS
from benchmarks.chaos.audit import truth_of
from benchmarks.chaos.faults import FAULTS, WORKER_TIMEOUT, Fault, Missed
from benchmarks.chaos.outcomes import HEADER, add, kept, rows
from benchmarks.chaos.stages import ENVIRONMENT, Stage, stage
from benchmarks.chaos.trial import LIMIT_SECONDS, SECONDS, ModelName, Outcome, Setting, run_trial
from benchmarks.runs import scratch
from benchmarks.tables import machine, markdown
from muster.core import RequestKey

ENGINES = ("inline", "local", "torchrun", "nodes", "three-nodes", "ray", "slurm")
OUTCOMES = Path("build/chaos.jsonl")
_MOST_MISSES = 10
EXPLAINED = f"""
Each run evaluates the demo's tasks on two workers with `--worker-timeout` {WORKER_TIMEOUT:g}, and is broken once, at a
random moment: mostly while answers come, one time in seven while processes start, one time in ten when all is answered.
Where it doesn't complete, the same command is given again ("resume"). Recorded answers take {SECONDS * 1e3:.0f} ms each
(the median of a log-normal distribution), one by one or in batches of 4. Samples lost, scored twice, and scores that
differ are counted from journal, table of samples and results by code that shares nothing with Muster's
(`benchmarks/chaos/audit.py`). Work redone is what the models did beyond one answer for each sample, by their own
account. "Ended by itself": all processes of every attempt within {LIMIT_SECONDS:.0f} s, but for launchers that have
nothing left to look after: torchrun waits up to five minutes for a node that is gone. Those are ended after
{LAUNCHER_SECONDS:.0f} s, and count as `killed`.
"""


def main() -> int:
    """Run the trials that were asked for, and write the table."""
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    if asked.report:
        _write_table(asked)
        return 0
    if not asked.go_on:
        asked.outcomes.unlink(missing_ok=True)
    asked.outcomes.parent.mkdir(parents=True, exist_ok=True)
    with scratch() as folder:
        setting = record(folder, asked.limit, asked.model, asked.keep)
        for engine in asked.engines:
            with stage(engine, folder) as where:
                _run_all(where, setting, asked)
    _write_table(asked)
    mine = [o for o in kept(asked.outcomes) if o.engine in asked.engines and o.fault in asked.faults]
    return 0 if all(outcome.sound for outcome in mine) else 1


def record(folder: Path, limit: int, model: ModelName, keep: Path | None = None) -> Setting:
    """The undisturbed run of the demo model, whose answers the others give and whose scores they must have."""
    output = folder / "undisturbed"
    command = [
        sys.executable,
        "-m",
        "muster",
        "run",
        "--model",
        "demo",
        "--tasks",
        "digits",
        "--engine",
        "inline",
    ]
    command += ["--limit", str(limit), "--batch-size", "4", "--output", str(output), "--progress", "none"]
    process = attempts.START(command, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command)
    truth = truth_of(output)
    recording = folder / "answers.json"
    recording.write_text(json.dumps({str(RequestKey(*key)): text for key, text in truth.texts.items()}))
    return Setting(model, limit, recording, truth, folder, keep)


def _run_all(where: Stage, setting: Setting, asked: argparse.Namespace) -> None:
    had = {(o.engine, o.fault, o.number, o.model) for o in kept(asked.outcomes)}
    for number in range(asked.runs):
        for name in asked.faults:
            fault = FAULTS[name]
            if where.name in fault.engines and (where.name, name, number, setting.model) not in had:
                seed = f"{asked.seed}:{where.name}:{name}:{number}"
                outcome = _one(where, fault, number, setting, seed)
                add(asked.outcomes, outcome)
                _write_table(asked)
                print(_told(outcome), flush=True)


def _one(where: Stage, fault: Fault, number: int, setting: Setting, seed: str) -> Outcome:
    for again in range(_MOST_MISSES):
        with contextlib.suppress(Missed):
            return run_trial(where, fault, number, setting, Random(f"{seed}:{again}"))
    raise RuntimeError(f"{fault.name} came too late {_MOST_MISSES} times on {where.name}")


def _told(outcome: Outcome) -> str:
    found = ("sound" if outcome.sound else "NOT SOUND") + (", TRACEBACK" if outcome.traceback else "")
    return (
        f"{outcome.engine} {outcome.fault} {outcome.number}: {found}; struck after {outcome.struck_after:.1f} s and "
        f"{outcome.answers_before} answers; {outcome.resumes} resumes, exit {outcome.statuses}, lost {outcome.lost}, "
        f"twice {outcome.twice}, different {outcome.different}, redone {outcome.redone_seconds:.2f} s; "
        f"{outcome.seconds:.1f} s in all"
    )


def _write_table(asked: argparse.Namespace) -> None:
    outcomes = kept(asked.outcomes)
    parts = [
        f"# Faults survived\n\n    python -m benchmarks.chaos --runs {asked.runs}\n\n{machine()}\n",
        EXPLAINED,
    ]
    titles: dict[ModelName, str] = {"recorded": "Recorded answers", "demo": "The demo model itself"}
    for model, title in titles.items():
        lines = rows(outcomes, model, ENGINES)
        if lines:
            parts.append(f"\n### {title}\n\n{markdown(HEADER, lines)}")
    temporary = asked.results.with_suffix(f".{os.getpid()}")
    temporary.write_text("".join(parts))
    temporary.replace(asked.results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--runs", type=int, default=1, help="of each fault on each engine")
    parser.add_argument("--engines", type=_names(ENGINES), default=list(ENGINES), metavar="A,B")
    parser.add_argument("--faults", type=_names(tuple(FAULTS)), default=list(FAULTS), metavar="A,B")
    parser.add_argument("--seed", default="0", help="decides moments, victims and damage")
    parser.add_argument("--model", choices=["recorded", "demo"], default="recorded")
    parser.add_argument("--limit", type=int, default=12, help="samples of each of the five tasks")
    parser.add_argument("--continue", dest="go_on", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--outcomes", type=Path, default=OUTCOMES, help="one line per trial")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep what is left of trials that were not sound"
    )
    parser.add_argument(
        "--results", type=Path, help="the table (default: beside the outcomes, with the ending .md)"
    )
    asked = parser.parse_args()
    if asked.report and not asked.outcomes.exists():
        parser.error(f"there is no {asked.outcomes} to report: say --outcomes")
    asked.results = asked.results or asked.outcomes.with_suffix(".md")
    return asked


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"no {', '.join(sorted(unknown))}: of {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
