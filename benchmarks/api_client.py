"""Clients of an API: requests per second, and what one costs the machine that asks.

    python -m benchmarks.api_client [--quick] [--lmms-eval-python PYTHON]

A server in a process of its own answers after 10 ms with one token; each request carries a JPEG of 336×336 pixels.
Muster is the whole `muster run`: tasks, queue, journal with checksums, scores; its rate and CPU are those of the time
in which it asks. The plain client is `AsyncOpenAI` behind a semaphore, which writes a line of JSON per answer.
lmms-eval's own client is measured where an interpreter is named that has it. Exits 1 if Muster isn't at least as
fast as the plain client, for no more CPU, at every number of requests in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.runs import ENVIRONMENT, scratch, write_benchmark
from benchmarks.tables import machine, say, table, verdict

FOLDER = Path(__file__).parent
SERVER_SECONDS = 0.01
IMAGES = 32
PIXELS = 336
FILES = 4096
LMMS_EVAL_REQUESTS = 1_500
MUSTER_MEASURED = f"{FOLDER / 'api_measured.py'}:Measured"


class Case(NamedTuple):
    """So many requests, so many of them at a time."""

    in_flight: int
    requests: int


CASES = (Case(1, 500), Case(64, 6_000), Case(1_024, 10_000))
QUICK = (Case(1, 40), Case(64, 400))


@dataclass(frozen=True, slots=True)
class Measured:
    """One client, one case."""

    requests: int
    seconds: float
    cpu: float
    """Seconds of the client's process."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of CPU per request."""
        return 1e3 * self.cpu / self.requests

    def cells(self) -> list[str]:
        """For the table."""
        return [f"{self.rate:,.0f}/s", f"{self.cost:.2f} ms"]


@contextmanager
def dummy_server() -> Iterator[str]:
    """The base URL of a server of its own process."""
    command = [sys.executable, "-m", "benchmarks.api_server", str(SERVER_SECONDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=FOLDER.parent, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def write_questions(folder: Path, count: int) -> Path:
    """A benchmark of questions with images; the task's file."""
    from PIL import Image

    for number in range(IMAGES):
        image = Image.effect_noise((PIXELS, PIXELS), 20 + number).convert("RGB")
        image.save(folder / f"{number}.jpg", quality=60)
    rows = (
        {
            "id": f"q{number}",
            "question": f"What is in picture {number}?",
            "images": [f"{number % IMAGES}.jpg"],
            "answer": "x",
        }
        for number in range(count)
    )
    return write_benchmark(folder, rows)


def run_client(command: list[str], case: Case) -> Measured:
    """A client that prints what it measured as its last line."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER.parent,
        env={**os.environ, **ENVIRONMENT},
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    return Measured(case.requests, measured["seconds"], measured["cpu"])


def muster(url: str, case: Case, task: Path, output: Path, *, adaptive: bool = False) -> Measured:
    """`muster run`."""
    marks = output.with_suffix(".json")
    command = [sys.executable, "-m", "muster", "run", "--model", "m", "--backend", MUSTER_MEASURED]
    command += ["--model-args", json.dumps({"base_url": url, "marks": str(marks)}), "--tasks", str(task)]
    command += ["--output", str(output), "--max-new-tokens", "16", "--progress", "none"]
    command += [] if adaptive else ["--max-in-flight", str(case.in_flight)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **ENVIRONMENT}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr}")
    measured = json.loads(marks.read_text())
    return Measured(case.requests, measured["seconds"], measured["cpu"])


def lmms_eval(python: str, url: str, case: Case, task: Path) -> Measured:
    """lmms-eval's client, with fewer requests: it encodes every image as PNG."""
    case = case._replace(requests=min(case.requests, LMMS_EVAL_REQUESTS))
    few = task.with_name("few.jsonl")
    lines = task.with_suffix(".jsonl").read_text().splitlines(keepends=True)
    few.write_text("".join(lines[: case.requests]))
    arguments = [url, str(case.in_flight), str(few), str(task.with_name("lmms.jsonl"))]
    return run_client([python, str(FOLDER / "api_lmms_eval.py"), *arguments], case)


def main() -> int:
    """Print the table; 1 if the aim was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds, and numbers to match")
    parser.add_argument("--lmms-eval-python", help="an interpreter that has lmms-eval")
    asked = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, FILES), hard), hard))  # the clients inherit it
    print(f"# Clients of an API\n\n{machine()}")
    rows: list[list[str]] = []
    met = True
    with scratch() as folder, dummy_server() as url:
        for case in QUICK if asked.quick else CASES:
            place = folder / str(case.in_flight)
            place.mkdir()
            task = write_questions(place, case.requests)
            arguments = [url, str(case.in_flight), str(task.with_suffix(".jsonl")), str(place / "out.jsonl")]
            plain = run_client([sys.executable, str(FOLDER / "api_plain.py"), *arguments], case)
            ours = muster(url, case, task, place / "run")
            adaptive = muster(url, case, task, place / "adaptive", adaptive=True)
            found = {"muster run": ours, "AsyncOpenAI and a semaphore": plain}
            if asked.lmms_eval_python:
                found["lmms-eval's client"] = lmms_eval(asked.lmms_eval_python, url, case, task)
            for name, measured in found.items():
                rows.append([f"{case.in_flight:,}", name, f"{measured.requests:,}", *measured.cells()])
            if case is (QUICK if asked.quick else CASES)[-1]:
                rows.append(["adaptive", "muster run", f"{case.requests:,}", *adaptive.cells()])
            met = met and ours.rate >= plain.rate and ours.cost <= plain.cost
            time.sleep(0.2)
    table(
        f"Against a server that answers after {1e3 * SERVER_SECONDS:.0f} ms, one JPEG per request",
        ("in flight", "client", "requests", "rate", "CPU per request"),
        rows,
    )
    if not asked.lmms_eval_python:
        say("lmms-eval's own client was not measured: no interpreter with it was named.")
    return 0 if verdict("as fast as the plain client and no dearer, at any number in flight", met) else 1


if __name__ == "__main__":
    sys.exit(main())
