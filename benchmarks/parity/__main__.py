"""`python -m benchmarks.parity --lmms-eval-python PYTHON --vlmevalkit-path DIR`: a table of scores.

Exit code 1 where one differs.

The same recorded answers go through the toolkit's own evaluation (one process, one thread, one task at a time) and
through `muster run` with 1 replica, with 4, and with 4 that are killed (SIGKILL) halfway and started again.

Of VLMEvalKit also: its models, asked by its own scripts and by Muster, and its datasets' answers scored by our metrics.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import muster.toolkits
from benchmarks.parity import models, ours
from benchmarks.parity.judge_server import serving
from benchmarks.parity.tasks import JUDGED, PLAIN, VLMEVALKIT, VLMEVALKIT_JUDGED

HERE = Path(__file__).parent
INSIDE = HERE / "inside"
TOOLKITS = Path(muster.toolkits.__file__).parent / "inside"
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Bench:
    """One toolkit, and where everything is."""

    toolkit: str
    python: Path
    """The interpreter that has it, or what it needs."""
    checkout: Path | None
    """Of VLMEvalKit."""
    root: Path
    judge: str
    judged: bool = True
    """Whether it is asked."""

    @property
    def environment(self) -> dict[str, str]:
        """What both sides see: the fixtures instead of a hub."""
        return {
            **os.environ,
            "PYTHONPATH": str(INSIDE),
            "PARITY_DATA": str(self.root / "data"),
            "PARITY_TOOLKITS": str(TOOLKITS),
            "LMUData": str(self.root / "lmu"),
            "HF_HOME": str(self.root / "home"),
            "MUSTER_CACHE": str(self.root / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",  # ovobench's mean of tasks adds them in the order of a set
            "TOKENIZERS_PARALLELISM": "false",
        }

    @property
    def options(self) -> list[str]:
        """Muster's, that say where the toolkit is, and who judges."""
        given = [f"--{self.toolkit}-python", str(self.python)]
        if self.toolkit == "lmms-eval":
            given += ["--include-path", str(INSIDE / "tasks")]
        if self.checkout is not None:
            given += ["--vlmevalkit-path", str(self.checkout)]
        if self.judged:
            given += ["--judge", "judge", "--judge-args", f"base_url={self.judge},api_key_env=PARITY_KEY"]
        return given


@dataclass
class Compared:
    """One task."""

    name: str
    theirs: Scores
    mine: dict[str, Scores] = field(default_factory=dict)
    why: str = ""

    @property
    def verdict(self) -> str:
        """`==`, or what is the matter."""
        if self.why:
            return self.why
        differ = [way for way, scores in self.mine.items() if not same(self.theirs, scores)]
        return f"**differs** ({', '.join(differ)})" if differ else "=="


def same(theirs: Scores, ours: Scores) -> bool:
    """Whether both have the same scores of the same names, equal to the last bit."""
    return theirs.keys() == ours.keys() and all(theirs[name] == ours[name] for name in theirs)


def reference(bench: Bench, names: Sequence[str], part: str) -> tuple[Path, dict[str, Any]]:
    """The file of answers, and the toolkit's own scores, by what was asked and task."""
    answers, scores = bench.root / f"answers-{part}.json", bench.root / f"scores-{part}.json"
    keys = {
        **dict.fromkeys(("OPENAI_API_URL", "OPENAI_BASE_URL"), bench.judge),
        "OPENAI_API_BASE": f"{bench.judge}/chat/completions",
        **({"PARITY_JUDGE": "gpt-4o-mini"} if bench.judged else {}),
        "OPENAI_API_KEY": "x",
        "API_TYPE": "openai",
    }
    script = INSIDE / f"{bench.toolkit.replace('-', '_')}_reference.py"
    beside = [] if bench.checkout is None else [str(bench.checkout)]
    (bench.root / "theirs").mkdir(exist_ok=True)
    with (bench.root / f"reference-{part}.log").open("wb") as log:
        subprocess.run(
            [str(bench.python), str(script), *beside, str(answers), str(scores), *names],
            cwd=bench.root / "theirs",
            env={**bench.environment, **keys},
            stdout=log,
            stderr=log,
            check=True,
        )
    return answers, json.loads(scores.read_text())


def muster_command(
    bench: Bench, names: Sequence[str], answers: Path, output: Path, replicas: int, pause: float
) -> list[str]:
    return [
        *(sys.executable, "-m", "muster", "run", "--model", "recorded"),
        *("--backend", f"{HERE / 'replaying.py'}:Replaying"),
        *("--model-args", f"answers={answers},pause={pause}"),
        *("--tasks", ",".join(f"{bench.toolkit}:{name}" for name in names), *bench.options),
        *("--engine", "inline" if replicas == 1 else "local", "--replicas", str(replicas)),
        *("--output", str(output), "--progress", "none", "--max-failures", "1.0"),
    ]


def run_muster(bench: Bench, command: Sequence[str], log: Path) -> None:
    with log.open("ab") as stream:
        environment = {**bench.environment, "PARITY_KEY": "x"}
        done = subprocess.run(
            command, cwd=Path.cwd(), env=environment, stdout=stream, stderr=stream, check=False
        )
    if done.returncode not in (0, 3):
        raise SystemExit(f"muster run ended with {done.returncode}; see {log}")


def killed_and_resumed(bench: Bench, command: Sequence[str], output: Path, total: int, log: Path) -> int:
    """Kill the run, and all that it started, at half of its answers; go on. Returns how many answers it had."""
    with log.open("ab") as stream:
        environment = {**bench.environment, "PARITY_KEY": "x"}
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
        journal = output / "journal.jsonl"
        while process.poll() is None and answered(journal) < total // 2:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    had = answered(journal)
    run_muster(bench, command, log)
    return had


def answered(journal: Path) -> int:
    """Lines of a journal but for its first."""
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def muster_scores(output: Path) -> dict[str, Scores]:
    """Scores by task, and by group where the toolkit has a rule for it."""
    results = json.loads((output / "results.json").read_text())
    scores: dict[str, Scores] = {
        name.partition(":")[2]: {
            metric: each["value"] for metric, each in task["metrics"].items() if each["value"] is not None
        }
        for name, task in results["tasks"].items()
    }
    for name, group in results["groups"].items():
        own = {metric: each["value"] for metric, each in group["metrics"].items() if metric != "macro_mean"}
        if own:
            scores[name.partition(":")[2]] = own
    return scores


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a task in lmms-eval's table; of a mapping each one, by its key."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found.update(numbers({f"{name}.{key}": each for key, each in value.items()}))
        elif isinstance(value, int | float) and math.isfinite(value):
            found[name] = float(value)
    return found


def compare(bench: Bench, names: Sequence[str], part: str) -> list[Compared]:
    """Every task of `names`, theirs and ours."""
    if not names:
        return []
    answers, scores = reference(bench, names, part)
    rows = [
        Compared(name, {}, why=f"the toolkit itself fails: {found['error']}")
        for name, found in scores.items()
        if "error" in found
    ]
    fit = [name for name in names if "error" not in scores[name]]
    theirs = {
        task: numbers(values) for name in fit for task, values in scores[name].items() if numbers(values)
    }
    total = sum(map(len, json.loads(answers.read_text()).values()))  # journalled: one for each document
    mine: dict[str, dict[str, Scores]] = {}
    for way, replicas in (("1 replica", 1), ("4 replicas", 4), ("4, killed and resumed", 4)):
        output = bench.root / f"run-{part}-{len(mine)}"
        log = bench.root / f"muster-{part}-{len(mine)}.log"
        pause = 0.01 if "killed" in way else 0.0
        command = muster_command(bench, fit, answers, output, replicas, pause)
        if "killed" in way:
            had = killed_and_resumed(bench, command, output, total, log)
            print(f"{part}: killed with {had} of {total} answers", file=sys.stderr)
        else:
            run_muster(bench, command, log)
        mine[way] = muster_scores(output)
    for name, found in theirs.items():
        rows.append(Compared(name, found, {way: each.get(name, {}) for way, each in mine.items()}))
    silent = [task for name in fit for task in scores[name] if task not in theirs]
    rows += [
        Compared(name, {}, why="no number on either side")
        for name in silent
        if not any(mine["1 replica"].get(name, {}).values())
    ]
    return rows


def table(rows: Sequence[Compared], versions: str) -> str:
    """Markdown."""
    equal = [row for row in rows if row.verdict == "=="]
    differing = sum("differs" in row.verdict for row in rows)
    silent = sum(bool(row.why) for row in rows)
    lines = [
        "# Replay parity",
        "",
        "Made by `python -m benchmarks.parity`; its docstring says what is compared. Fixtures: the published columns",
        f"with made-up contents. {versions}.",
        "",
        f"**{len(equal)} tasks and groups equal in every score, to the last bit, in all three ways; "
        f"{differing} differ; {silent} can't be compared.**",
        "",
        "| task | scores | first | 1 replica, 4 replicas, 4 killed and resumed |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda each: each.name):
        first = next(iter(row.theirs.items()), None)
        shown = f"{first[0]} {first[1]:.6g}" if first else ""
        lines.append(f"| {row.name} | {len(row.theirs)} | {shown} | {row.verdict.replace('|', ' ')} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compare, write the table, and say by the exit code whether all is equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lmms-eval-python", type=Path, help="the Python that has lmms-eval")
    parser.add_argument("--vlmevalkit-python", type=Path, help="the Python that has what VLMEvalKit needs")
    parser.add_argument("--vlmevalkit-path", type=Path, help="a checkout of VLMEvalKit")
    parser.add_argument("--tasks", help="some of the tasks, separated by commas")
    parser.add_argument("--models", help="some of VLMEvalKit's models, separated by commas")
    parser.add_argument(
        "--work", type=Path, help="a folder for everything that is made (default: a temporary one)"
    )
    parser.add_argument("--output", type=Path, help="the table's file")
    given = parser.parse_args()
    root = (given.work or Path(tempfile.mkdtemp(prefix="muster-parity-"))).resolve()
    root.mkdir(parents=True, exist_ok=True)
    rows: list[Compared] = []
    answers: list[models.Answers] = []
    pairs: list[ours.Compared] = []
    versions: list[str] = []
    with serving() as judge:
        if given.lmms_eval_python:
            bench = Bench("lmms-eval", given.lmms_eval_python.absolute(), None, root, judge)
            make_fixtures(bench, root)
            for part, names in (("plain", PLAIN), ("judged", JUDGED)):
                rows += compare(bench, chosen(names, given.tasks), part)
            versions.append(installed(bench.python, "lmms_eval"))
        if given.vlmevalkit_path:
            python = (given.vlmevalkit_python or Path(sys.executable)).absolute()
            bench = Bench("vlmevalkit", python, given.vlmevalkit_path.resolve(), root, judge, judged=False)
            make_fixtures(bench, root / "lmu")
            rows += compare(bench, chosen(VLMEVALKIT, given.tasks), "vlmevalkit")
            scored = [each for each in ours.PAIRS if each.dataset in chosen(VLMEVALKIT, given.tasks)]
            pairs += [ours.compare(each, root) for each in scored]
            names = chosen(VLMEVALKIT_JUDGED, given.tasks)
            rows += compare(replace(bench, judged=True), names, "vlmevalkit-judged")
            versions.append("VLMEvalKit")
            for asked in models.models(judge):
                if given.models is None or asked.model in given.models.split(","):
                    answers += models.compare(asked, python, bench.checkout, bench.environment, root)
    text = table(rows, " and ".join(versions))
    if pairs:
        text += "\n" + "\n".join(ours.table(pairs)) + "\n"
    if answers:
        text += "\n" + "\n".join(models.table(answers)) + "\n"
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    print(text)
    differ = (
        any("differs" in row.verdict for row in rows)
        or any(count for row in answers for count in row.differ.values())
        or not all(row.equal or row.pair.why for row in pairs)
    )
    raise SystemExit(differ or not (rows or answers))


def chosen(names: Sequence[str], asked: str | None) -> list[str]:
    """Those of `names` that are asked for."""
    return [name for name in names if asked is None or name in asked.split(",")]


def make_fixtures(bench: Bench, root: Path) -> None:
    """Write the toolkit's data sets."""
    script = INSIDE / f"{bench.toolkit.replace('-', '_')}_fixtures.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [str(bench.python), str(script), str(root)], env=environment, stderr=subprocess.DEVNULL, check=True
    )


def installed(python: Path, package: str) -> str:
    """A package and its version."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    said = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout
    return f"{package} {said.strip()}"


if __name__ == "__main__":
    main()
