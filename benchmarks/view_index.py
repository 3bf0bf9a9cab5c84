"""A folder of 2,000 runs in `muster view`: until they are listed, and the memory of the server.

    python -m benchmarks.view_index [--quick]

One run of 10,000 questions is made by `muster run`; the others are copies of it in folders of twenty checkpoints each,
with manifests and results of their own, and its journal and samples as hard links: 20 million samples in all. `muster
view` is asked for the list by HTTP: at first, when it knows nothing (the files lie in the page cache); again; after
every tenth run has changed; with a search, sorted by a score, as JSON. The peak is the server's, by the kernel's count
(VmHWM), before a report is opened. Exits 1 where an aim is missed.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.report_page import run
from benchmarks.runs import ENVIRONMENT, scratch
from benchmarks.tables import asked_for_quick, machine, table, verdict

AIM_SECONDS, AIM_MIB = 1.0, 300.0
PER_FOLDER = 20


def write_task(folder: Path, samples: int) -> Path:
    """Multiple-choice questions without pictures."""
    with (folder / "made_up.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(samples):
            row = {
                "id": f"q{number}",
                "question": f"Which is number {number}?",
                "choices": ["one", "two", "three", "four"],
                "answer": "ABCD"[number % 4],
                "metadata": {"category": f"kind {number % 12}"},
            }
            lines.write(json.dumps(row) + "\n")
    task = folder / "made_up.yaml"
    task.write_text("name: made_up\nsource: {file: made_up.jsonl}\nmetric: multiple_choice\nby: [category]\n")
    return task


def copy(made: Path, target: Path, number: int) -> None:
    """A run folder like `made`, with other scores and another time."""
    target.mkdir(parents=True)
    for name in ("journal.jsonl", "samples.parquet"):
        os.link(made / name, target / name)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["created"] += 60 * number
    results = json.loads((made / "results.json").read_text())
    change = random.Random(number).gauss(0, 0.05)
    for task in results["tasks"].values():
        metric = task["metrics"][task["primary"]]
        metric["value"] += change
        metric["ci95"] = [end + change for end in metric["ci95"]]
    (target / "manifest.json").write_text(json.dumps(manifest, indent=2))
    (target / "results.json").write_text(json.dumps(results, indent=2))


def timed(port: int, target: str) -> tuple[float, bytes]:
    """Seconds until the whole answer is here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began = time.perf_counter()
    connection.request("GET", target)
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - began
    if answer.status != 200:
        raise SystemExit(f"{target}: {answer.status} {body[:200]!r}")
    return took, body


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """Of the server so far: what a busy machine doesn't change."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(process: subprocess.Popen[str]) -> float:
    """MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def main() -> int:
    """Measure, print, and say whether the aims were met."""
    quick = asked_for_quick(__doc__)
    runs, samples, rounds = (40, 200, 1) if quick else (2_000, 10_000, 5)
    print("# Listing runs\n\n" + machine())
    with scratch() as folder:
        run(write_task(folder, samples), folder / "made")
        viewed = folder / "viewed"
        places = [
            viewed / f"model-{n // PER_FOLDER}" / f"step-{1000 * (n % PER_FOLDER + 1)}" for n in range(runs)
        ]
        for number, place in enumerate(places):
            copy(folder / "made", place, number)
        command = [sys.executable, "-m", "muster", "view", str(viewed), "--port", "0"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **ENVIRONMENT}
        ) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().split(" at ")[1].split("/ ")[0].rpartition(":")[2])
            try:
                before = processor_seconds(server)
                first, body = timed(port, "/index.json")
                work = processor_seconds(server) - before
                found = json.loads(body)
                times = [("the list, at first", first)]
                again = [timed(port, "/index.json")[0] for _ in range(rounds)]
                times.append(("the list, nothing has changed", statistics.median(again)))
                for place in places[::10]:
                    shutil.copy(place / "results.json", place / "copy.json")
                    (place / "copy.json").replace(place / "results.json")
                times.append(("the list, a tenth of the runs has changed", timed(port, "/index.json")[0]))
                for name, target in (
                    ("its page", "/"),
                    (
                        "its page, searched and sorted by a score",
                        f"/?{urlencode({'q': 'step-5000', 'task': 'made_up', 'sort': 'score'})}",
                    ),
                    ("trends of 20 checkpoints", "/trends?q=model-1/"),
                    ("trends of all", "/trends"),
                ):
                    times.append((name, statistics.median(timed(port, target)[0] for _ in range(rounds))))
                mib = peak(server)
            finally:
                server.kill()
        asked = sum(entry["requested"] for entry in found["runs"]) / len(found["runs"]) * found["all"]
    table(
        f"{found['all']:,} runs, {asked:,.0f} samples; peak of the server {mib:.0f} MiB; the first list took "
        f"{work:.2f} s of its processor time",
        ["what", "ms"],
        [[name, f"{1e3 * seconds:.0f}"] for name, seconds in times],
    )
    met = [
        (f"listed in under {AIM_SECONDS:g} s, also at first", max(first, *again) < AIM_SECONDS),
        (f"with at most {AIM_MIB:g} MiB", mib < AIM_MIB),
    ]
    reached = [verdict(aim, true) for aim, true in met]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
