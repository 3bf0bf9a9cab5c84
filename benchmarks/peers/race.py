"""The same model and samples through Muster, lmms-eval, VLMEvalKit and vLLM: time by phase, and what failures cost.

    python -m benchmarks.peers.race --lmms-eval-python PYTHON --vlmevalkit-python PYTHON --vlmevalkit-path CHECKOUT
    .ci/race CHECKOUT                 # makes the two environments first, where there are none
    python -m benchmarks.peers.race --quick    # a few samples: nothing of it is worth a number

Every row is a program of its own, started as its users start it: with the demo model, and with a small model of random
weights whose kernels take the time. The tools take turns, so that other work on the machine meets all. Only ratios
within one table mean anything. With `--work` the rows that are there already aren't run again.

Exits 1 where an aim is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

from benchmarks.peers import race_model
from benchmarks.peers.race_questions import demo_questions, kernel_questions
from benchmarks.peers.race_rows import Race
from benchmarks.peers.race_tables import print_tables
from benchmarks.peers.tools import LmmsEval, Muster, Tool, VLMEvalKit
from benchmarks.peers.vllm_tools import MusterWithVllm, RunBatch
from benchmarks.runs import scratch
from benchmarks.tables import machine

PARTS = ("demo", "killed", "broken", "dies", "kernels")


def main() -> int:
    """Run what is missing and print the tables."""
    given = _arguments()
    counts = [int(each) for each in given.processes.split(",")]
    parts = given.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(
            f"--parts {given.parts}: there is no {', '.join(sorted(unknown))}, only {','.join(PARTS)}"
        )
    batches = [int(each) for each in given.batch_sizes.split(",") if each]
    print(
        f"# The race\n\n    {' '.join(['python -m benchmarks.peers.race', *sys.argv[1:]])}\n\n{machine()}",
        flush=True,
    )
    with scratch() if given.work is None else nullcontext(given.work) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / "model"
        race_model.write_model(model, race_model.TINY if given.quick else race_model.SMALL)
        longest = 24 if given.quick else race_model.LONGEST
        demo = demo_questions(folder / f"demo-{given.samples}", given.samples)
        kernels = kernel_questions(
            folder / f"kernels-{given.kernel_samples}", model, given.kernel_samples, longest
        )
        broken = demo_questions(folder / f"broken-{given.samples}", given.samples, broken=True)
        race = Race(_tools(given), folder, given.device, given.most_seconds)
        for repeat in range(given.repeats if "demo" in parts else 0):
            for processes in counts:
                if repeat == 0 or processes <= 2:
                    race.clean("demo", demo, processes, 0, repeat)
        if "killed" in parts:
            race.killed(demo)
        if "broken" in parts:
            race.disturbed("broken", broken, 1)
        if "dies" in parts:
            race.disturbed("dies", demo, 2)
        for batch in [0, *batches] if "kernels" in parts else []:
            race.clean("kernels", kernels, 1, batch, 0)
        met = print_tables(race.rows, given.samples, given.kernel_samples)
        if given.work is not None:
            shutil.rmtree(folder / "runs", ignore_errors=True)
    return 0 if met else 1


def _tools(given: argparse.Namespace) -> list[Tool]:
    tools: list[Tool] = [Muster()]
    if given.lmms_eval_python:
        tools.append(LmmsEval(given.lmms_eval_python))
    if given.vlmevalkit_path:
        python = given.vlmevalkit_python or sys.executable
        tools.append(VLMEvalKit(python, given.vlmevalkit_path.resolve()))
    if given.vllm_python:
        tools += [MusterWithVllm(given.vllm_python), RunBatch(given.vllm_python)]
    return tools


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lmms-eval-python", help="an interpreter that has lmms-eval")
    parser.add_argument("--vlmevalkit-path", type=Path, help="a checkout of VLMEvalKit")
    parser.add_argument("--vlmevalkit-python", help="an interpreter that has what it needs")
    parser.add_argument(
        "--vllm-python", help="an interpreter that has vLLM and what Muster needs (`.ci/vllm`)"
    )
    parser.add_argument("--work", type=Path, help="a folder that keeps model, samples and finished rows")
    parser.add_argument("--device", default="cuda" if Path("/dev/nvidiactl").exists() else "cpu")
    parser.add_argument("--samples", type=int, default=200, help="of the demo model")
    parser.add_argument("--kernel-samples", type=int, default=192, help="of the random model")
    parser.add_argument("--processes", default="1,2,4", help="separated by commas")
    parser.add_argument("--batch-sizes", default="8,16,32", help="with the random model, beside the defaults")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="of one and two processes with the demo model")
    parser.add_argument("--most-seconds", type=float, default=600.0, help="after which a run is ended")
    parser.add_argument("--quick", action="store_true", help="a few samples, one process, no repeats")
    given = parser.parse_args()
    if given.quick:
        given.samples, given.kernel_samples, given.repeats = 16, 8, 1
        given.processes, given.batch_sizes = "1", "4"
    return given


if __name__ == "__main__":
    sys.exit(main())
