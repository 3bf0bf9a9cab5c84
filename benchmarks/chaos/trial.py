"""One trial: a run is started, broken at a random moment, given the same command again where needed, and counted."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import msgspec

from benchmarks.chaos.attempts import POLL_SECONDS, Attempt, Ended
from benchmarks.chaos.audit import Truth, audit, is_complete
from benchmarks.chaos.calls import answered, read_calls, seconds_redone
from benchmarks.chaos.faults import WORKER_TIMEOUT, Fault, Missed, Scene
from benchmarks.chaos.stages import Stage

ModelName = Literal["recorded", "demo"]
LIMIT_SECONDS = 180.0
"""For one attempt on a busy machine, start, time-outs and drain included."""
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t]+.*\n)+")
MOST_RESUMES = 2
SECONDS = 0.04
"""The median time of a recorded answer."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all trials have in common."""

    model: ModelName
    limit: int
    """Samples of each of the demo's tasks."""
    recording: Path
    truth: Truth
    scratch: Path
    keep: Path | None = None
    """Where to keep what is left of trials that were not sound."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of one trial; a line of the file of outcomes."""

    engine: str
    fault: str
    number: int
    model: ModelName
    resumes: int
    complete: bool
    by_itself: bool
    """Every attempt ended within the limit, leaving nothing behind."""
    statuses: list[list[int | None]]
    """Exit codes of each attempt's commands."""
    lost: int
    twice: int
    different: int
    redone_seconds: float
    seconds: float
    """All attempts together."""
    struck_after: float
    """Seconds after the start."""
    answers_before: int
    """Answered when the fault struck."""
    traceback: bool
    """Muster showed its user a Python traceback."""
    claimed: int = 0
    """Attempts that ended with exit code 0 and without complete results."""

    @property
    def sound(self) -> bool:
        """Whether all is as it must be."""
        return (
            self.complete
            and self.by_itself
            and not (self.lost or self.twice or self.different or self.claimed)
        )


def run_trial(stage: Stage, fault: Fault, number: int, setting: Setting, random: Random) -> Outcome:
    """Run it. Raises `Missed` when the run was over before the fault came."""
    name = f"{stage.name}-{fault.name}-{number}-{random.getrandbits(32):08x}"
    calls, said = setting.scratch / f"{name}-calls", setting.scratch / f"{name}.txt"
    calls.mkdir()
    output = fault.folder(stage, setting.scratch) / name
    poison = random.choice(sorted(key[1] for key in setting.truth.answers)) if fault.poisonous else None
    options = _options(setting, calls, random, poison)
    try:
        began = time.monotonic()
        attempt = stage.start(output, options, said, restarts=fault.restarts)
        struck = _strike(stage, fault, attempt, output, calls, random, len(setting.truth.answers))
        endings = [struck.ended]
        claimed = int(_claims(struck.ended, output))
        while not is_complete(output) and len(endings) <= MOST_RESUMES and endings[-1].by_itself:
            fault.repair(output, random)
            again = stage.start(output, options, said, restarts=fault.restarts)
            endings.append(again.wait(LIMIT_SECONDS))
            claimed += _claims(endings[-1], output)
        seconds = time.monotonic() - began
        counted = audit(output, setting.truth, poison)
        outcome = Outcome(
            engine=stage.name,
            fault=fault.name,
            number=number,
            model=setting.model,
            resumes=len(endings) - 1,
            complete=is_complete(output),
            by_itself=all(ended.by_itself for ended in endings),
            statuses=[list(ended.statuses) for ended in endings],
            lost=counted.lost,
            twice=counted.twice,
            different=counted.different,
            redone_seconds=seconds_redone(list(read_calls(calls))),
            seconds=seconds,
            struck_after=struck.after,
            answers_before=struck.answers,
            traceback=shows_traceback(said.read_text(errors="replace")),
            claimed=claimed,
        )
        if setting.keep is not None and (not outcome.sound or outcome.traceback):
            _keep(setting.keep, name, [output, said, calls])
        return outcome
    finally:
        fault.clean_up(output)


def _claims(ended: Ended, output: Path) -> bool:
    """Whether an attempt said that all is well where it isn't."""
    return not any(status != 0 for status in ended.statuses) and not is_complete(output)


def shows_traceback(said: str) -> bool:
    """Whether there is a traceback through Muster's code; launchers have theirs, which are their own affair."""
    return any("/muster/" in found[0] for found in _TRACEBACK.finditer(said))


def _keep(folder: Path, name: str, what: Sequence[Path]) -> None:
    (folder / name).mkdir(parents=True)
    for path in what:
        if path.is_dir():
            shutil.copytree(path, folder / name / path.name)
        elif path.exists():
            shutil.copy(path, folder / name)


class _Struck(NamedTuple):
    ended: Ended
    after: float
    answers: int


def _strike(
    stage: Stage, fault: Fault, attempt: Attempt, output: Path, calls: Path, random: Random, answers: int
) -> _Struck:
    """Let the fault strike at its moment, and wait for the end of the attempt."""
    began = time.monotonic()
    moment = fault.moment(random, answers)
    over, threads = threading.Event(), list[threading.Thread]()
    try:
        while attempt.alive() and answered(calls) < moment.answers and not fault.poisonous:
            time.sleep(POLL_SECONDS)
        time.sleep(moment.seconds)
        after, before = time.monotonic() - began, answered(calls)
        if not attempt.alive():
            raise Missed
        fault.strike(Scene(stage, attempt, output, random, over, threads))
        ended = attempt.wait(LIMIT_SECONDS)
    except BaseException:
        attempt.kill()
        raise
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return _Struck(ended, after, before)


def _options(setting: Setting, calls: Path, random: Random, poison: str | None) -> Sequence[str]:
    args: dict[str, object] = {"calls": calls}
    if poison is not None:
        args["poison"] = poison
    if setting.model == "recorded":
        slots = random.choice([1, 4])
        args |= {"answers": setting.recording, "seconds": SECONDS, "slots": slots}
        backend = "benchmarks.chaos.recorded:Recorded"
    else:
        args["device"] = "cpu"
        backend = "benchmarks.chaos.demo:Demo"
    return [
        *("--model", "demo", "--backend", backend, "--tasks", "digits", "--limit", str(setting.limit)),
        *("--model-args", ",".join(f"{name}={value}" for name, value in args.items())),
        *("--batch-size", "4", "--progress", "plain"),
        *("--worker-timeout", str(WORKER_TIMEOUT), "--request-timeout", "10", "--load-timeout", "60"),
        *("--rendezvous-timeout", "30"),
    ]
