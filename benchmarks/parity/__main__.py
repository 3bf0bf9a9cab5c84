"""`python -m benchmarks.parity --lmms-eval-python PYTHON --vlmevalkit-path DIR`: tables of scores.

Exit code 1 where one differs.

The same recorded answers go through the toolkit's own evaluation (one process, one thread, one task at a time) and
through `muster run` with 1 replica, with 4, and with 4 that are killed (SIGKILL) halfway and started again.

The answers that a toolkit's code has scored are scored by our own tasks of the same benchmarks, too. And VLMEvalKit's
models are asked by its own scripts and by Muster.

With `--work DIR` every task is kept there in a file of its own, and the same command again goes on behind it. After a
change of Muster, of a fixture or of a toolkit remove what it concerns: nothing in there is looked at again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.parity import models, ours, pairs
from benchmarks.parity.bench import INSIDE, Bench
from benchmarks.parity.judge_server import serving
from benchmarks.parity.kept import Kept, rows
from benchmarks.parity.replay import replay, table
from benchmarks.parity.tasks import LMMS_EVAL, NOTES, VLMEVALKIT, VLMEVALKIT_JUDGED


class Found:
    """What the parts came to, section by section."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.pairs: list[ours.Compared] = []
        self.answers: list[models.Answers] = []
        self.versions: list[str] = []
        self.sections: list[str] = []

    @property
    def differ(self) -> bool:
        """Whether anything does that isn't explained."""
        return (
            any(row.differs for kept in self.kept for row in rows(kept))
            or any(not row.explained for row in self.pairs)
            or any(count for row in self.answers for count in row.differ.values())
        )

    def text(self) -> str:
        """Markdown."""
        compared = [row for kept in self.kept for row in rows(kept)]
        silent = sum(bool(row.why) for row in compared)
        differing = sum(bool(row.differs) for row in compared)
        equal = sum(row.equal for row in self.pairs)
        explained = sum(row.explained and not row.equal for row in self.pairs)
        lines = [
            "# Replay parity",
            "",
            "Made by `python -m benchmarks.parity`; its docstring says what is compared. Fixtures: the published",
            f"columns with made-up contents. {' and '.join(self.versions)}.",
            "",
            f"**{len(compared) - silent - differing} tasks and groups equal in every score, to the last bit, in all "
            f"three ways; {differing} differ; {silent} can't be compared. Scored by our own tasks: {equal} of "
            f"{len(self.pairs)} benchmarks equal in every score, {explained} differ for a known reason, "
            f"{len(self.pairs) - equal - explained} differ.**",
            "",
        ]
        return "\n".join([*lines, *self.sections])


def lmms_eval(bench: Bench, found: Found, asked: str | None) -> None:
    """Its tasks, and ours of the same benchmarks."""
    fixtures(bench, bench.root)
    version = installed(bench.python, "lmms_eval")
    kept = replay(bench, chosen(LMMS_EVAL, asked), bench.root / f"lmms-eval-{version}")
    scored = compared(bench, kept, pairs.LMMS_EVAL)
    found.kept += kept
    found.pairs += scored
    found.versions.append(f"lmms-eval {version}")
    found.sections += ["## lmms-eval", "", *table(kept, NOTES), ""]
    if scored:
        found.sections += [
            "## Ours against lmms-eval",
            "",
            "The same answers, scored by lmms-eval's code and by our task of that benchmark, `--scoring lmms-eval`.",
            "`==` is to the last bit, apart from whether a number is a percentage. Of benchmarks that both have, these",
            "are missing: CharXiv, LLaVA-Bench and OCRBench v2, whose metrics have no variant `lmms-eval`, and tasks",
            "with `_reason` in their name, where a judge looks at every answer.",
            "",
            *ours.table(scored),
            "",
        ]


def vlmevalkit(bench: Bench, found: Found, asked: str | None, asked_models: str | None) -> None:
    """Its datasets, with and without its judge, ours of the same benchmarks, and its models."""
    assert bench.checkout is not None
    fixtures(bench, bench.root / "lmu")
    version = commit(bench.checkout)
    folder = bench.root / f"vlmevalkit-{version}"
    kept = replay(bench, chosen(VLMEVALKIT, asked), folder)
    judged = replay(
        replace(bench, judged=True),
        chosen(VLMEVALKIT_JUDGED, asked),
        folder.with_name(f"{folder.name}-judged"),
    )
    scored = compared(bench, kept, pairs.VLMEVALKIT)
    found.kept += [*kept, *judged]
    found.pairs += scored
    found.versions.append(f"VLMEvalKit {version}")
    found.sections += ["## VLMEvalKit", "", *table(kept, {}), ""]
    if judged:
        found.sections += ["With a judge; MMDU's are dialogues:", "", *table(judged, {}), ""]
    if scored:
        found.sections += [
            "## Ours against VLMEvalKit",
            "",
            "The same answers, scored by VLMEvalKit's code and by our task of that benchmark, `--scoring vlmevalkit`.",
            "",
            *ours.table(scored),
            "",
        ]
    wanted = [
        each
        for each in models.models(bench.judge)
        if not asked_models or each.model in asked_models.split(",")
    ]
    for each in wanted:
        found.answers += models.compare(each, bench, folder.with_name(f"{folder.name}-models"))
    if wanted:
        found.sections += [*models.table(found.answers), ""]


def compared(bench: Bench, kept: Sequence[Kept], those: Sequence[pairs.Pair]) -> list[ours.Compared]:
    """The pairs whose answers are there."""
    by_name = {each.name: each for each in kept if not each.why}
    return [ours.compare(bench, pair, by_name[pair.dataset]) for pair in those if pair.dataset in by_name]


def main() -> None:
    """Compare, write the tables, and say by the exit code whether all is equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lmms-eval-python", type=Path, help="the Python that has lmms-eval")
    parser.add_argument("--vlmevalkit-python", type=Path, help="the Python that has what VLMEvalKit needs")
    parser.add_argument("--vlmevalkit-path", type=Path, help="a checkout of VLMEvalKit")
    parser.add_argument("--tasks", help="some of the tasks, separated by commas")
    parser.add_argument("--models", help="some of VLMEvalKit's models, separated by commas")
    parser.add_argument(
        "--work", type=Path, help="a folder for everything that is made and kept (default: a temporary one)"
    )
    parser.add_argument("--output", type=Path, help="the tables' file")
    given = parser.parse_args()
    root = (given.work or Path(tempfile.mkdtemp(prefix="muster-parity-"))).resolve()
    root.mkdir(parents=True, exist_ok=True)
    os.environ.update(MUSTER_CACHE=str(root / "cache"), PARITY_KEY="x")
    found = Found()
    with serving() as judge:
        if given.lmms_eval_python:
            bench = Bench("lmms-eval", given.lmms_eval_python.absolute(), None, root, judge)
            lmms_eval(bench, found, given.tasks)
        if given.vlmevalkit_path:
            python = (given.vlmevalkit_python or Path(sys.executable)).absolute()
            bench = Bench("vlmevalkit", python, given.vlmevalkit_path.resolve(), root, judge, judged=False)
            vlmevalkit(bench, found, given.tasks, given.models)
    text = found.text()
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    print(text)
    raise SystemExit(found.differ or not (found.kept or found.answers))


def chosen(names: Sequence[str], asked: str | None) -> list[str]:
    """Those of `names` that are asked for."""
    return [name for name in names if asked is None or name in asked.split(",")]


def fixtures(bench: Bench, root: Path) -> None:
    """Write the toolkit's data sets."""
    script = INSIDE / f"{bench.toolkit.replace('-', '_')}_fixtures.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [str(bench.python), str(script), str(root)], env=environment, stderr=subprocess.DEVNULL, check=True
    )


def installed(python: Path, package: str) -> str:
    """A package's version."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def commit(checkout: Path) -> str:
    """The commit of a checkout; without git its folder's name."""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=8", "HEAD"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 and (checkout / ".git").exists() else checkout.name


if __name__ == "__main__":
    main()
