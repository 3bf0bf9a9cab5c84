"""A report of 50,000 samples with images: how long it takes to write, how large it is, how fast a browser shows it.

    python -m benchmarks.report_page [--quick]

A run of a made-up benchmark by `muster run`: 50,000 multiple-choice questions, each about a JPEG of 640 by 480 of its
own, answers of two sentences, three in ten wrong, five after a thought of 100,000 words. `muster report` is measured as
a whole process, imports included; its peak by the kernel's count. Debian's Chromium (headless, no GPU) opens the page
from the disk. First paint is what the browser says; filters, searches and samples are timed from the change of the
address until the browser has painted what it found. Exits 1 where an aim is missed.
"""

from __future__ import annotations

import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from selenium.webdriver import Chrome

from benchmarks.runs import BACKENDS, ENVIRONMENT, scratch
from benchmarks.tables import asked_for_quick, machine, table, verdict
from scripts.chromium import chromium, open_page

AIM_SECONDS, AIM_MIB, AIM_MB, AIM_PAINT, AIM_FILTER = 30.0, 500.0, 60.0, 1.5, 0.1
PAINT, SHOWN = "first paint", "until the samples are there"
DIFFERENT = 200
"""Pictures that are drawn; the rest have the pixels of one of these, and are read and scaled like any other."""
CHANGES = (
    ("filter: wrong", "show=wrong"),
    ("filter: a task and a category", "task=made_up&cat=kind+3"),
    ("filter: not readable, of everything", "show=unread"),
    ("search: a word of every question", "q=picture"),
    ("search: one question", "q=number+4321+of"),
    ("search: nothing", "q=zebra"),
    ("a sample in the middle", "s=made_up%2Fq{middle}"),
    ("everything again", ""),
)
_PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
_TIMED = """
const [hash, sample, done] = arguments;
const began = performance.now();
const painted = () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
const title = () => document.querySelector("#detail h2")?.textContent ?? "";
const opened = () => title().endsWith(sample) ? painted() : setTimeout(opened);
addEventListener("hashchange", sample ? opened : painted, {once: true});
location.hash = hash;
"""


def write_benchmark(folder: Path, samples: int) -> Path:
    """Questions and pictures; the path of the task file."""
    pictures = folder / "pictures"
    pictures.mkdir()
    drawn = [_jpeg(seed) for seed in range(min(DIFFERENT, samples))]
    with (folder / "made_up.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(samples):
            (pictures / f"{number}.jpg").write_bytes(drawn[number % len(drawn)])
            row = {
                "id": f"q{number}",
                "question": f"What is shown in picture number {number} of {samples}, on the left of the table that is "
                "in front of the window, when it is seen from the door?",
                "images": [f"pictures/{number}.jpg"],
                "choices": ["a cup", "a book about cups", "a vase", "none of these"],
                "answer": "ABCD"[number % 4],
                "metadata": {"category": f"kind {number % 12}"},
            }
            lines.write(json.dumps(row) + "\n")
    task = folder / "made_up.yaml"
    task.write_text(
        "name: made_up\nsource: {file: made_up.jsonl}\nmetric: multiple_choice\nby: [category]\n"
        "generation: {max_new_tokens: 200}\n"
    )
    return task


def _jpeg(seed: int) -> bytes:
    """About as hard to decode and to compress as a photograph: smooth areas, edges, grain."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    fine = Image.fromarray(random.integers(0, 255, (48, 64, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    held = io.BytesIO()
    Image.blend(coarse, fine, 0.35).save(held, "JPEG", quality=85)
    return held.getvalue()


def run(task: Path, output: Path) -> None:
    """Ask everything; the answers are made up by `Chooser`."""
    marks = output.with_name("marks")
    marks.mkdir()
    command = [
        *(sys.executable, "-m", "muster", "run", "--model", "demo", "--backend", f"{BACKENDS}:Chooser"),
        *("--tasks", str(task), "--output", str(output), "--engine", "inline", "--progress", "none"),
        *("--model-args", f"marks={marks}"),
    ]
    subprocess.run(command, check=True, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.DEVNULL)


def report(folder: Path, page: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and MiB of `muster report`."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "muster", "report", str(folder), "--output", str(page)],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"muster report failed with {status}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def browse(page: Path, profile: Path, rounds: int, samples: int) -> dict[str, float]:
    """Median seconds to the first paint, until the samples are there, and per change of the filters."""
    with chromium(profile) as browser:
        browser.set_script_timeout(60)
        paints, readies = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            open_page(browser, page.as_uri())
            readies.append(time.perf_counter() - began)
            paints.append(float(browser.execute_script(_PAINTED)) / 1e3)
        found = {PAINT: statistics.median(paints), SHOWN: statistics.median(readies)}
        found["the first search, which prepares the texts"] = _change(browser, "q=quick")
        for name, target in CHANGES:
            times = []
            for turn in range(5):
                _change(browser, f"q=between{turn}")
                times.append(_change(browser, target.format(middle=samples // 2)))
            found[name] = statistics.median(times)
    return found


def _change(browser: Chrome, target: str) -> float:
    sample = target.rpartition("s=made_up%2F")[2] if "s=" in target else ""
    return float(browser.execute_async_script(_TIMED, target, sample)) / 1e3


def main() -> int:
    """Measure, print, and say whether the aims were met."""
    quick = asked_for_quick(__doc__)
    samples, rounds = (1_000, 1) if quick else (50_000, 3)
    print("# A report\n\n" + machine())
    with scratch() as folder:
        task = write_benchmark(folder, samples)
        run(task, folder / "run")
        page = folder / "report.html"
        costs = [report(folder / "run", page) for _ in range(rounds)]
        seconds, processor, mib = min(costs)
        megabytes = page.stat().st_size / 1e6
        shown = browse(page, folder / "profile", rounds, samples)
    table(
        f"{samples:,} samples with images: `muster report`, a whole process, best of {rounds}",
        ["wall s", "processor s", "peak MiB", "file MB"],
        [[f"{seconds:.1f}", f"{processor:.1f}", f"{mib:.0f}", f"{megabytes:.1f}"]],
    )
    table(
        "The page in Chromium, from the disk, medians",
        ["what", "ms"],
        [[name, f"{1e3 * each:.0f}"] for name, each in shown.items()],
    )
    slowest = max(time for name, time in shown.items() if name not in (PAINT, SHOWN))
    met = [
        (f"written in under {AIM_SECONDS:g} s", seconds < AIM_SECONDS),
        (f"with at most {AIM_MIB:g} MiB", mib < AIM_MIB),
        (f"a file of under {AIM_MB:g} MB", megabytes < AIM_MB),
        (f"first paint after {AIM_PAINT:g} s", shown[PAINT] < AIM_PAINT),
        (f"a filter, a search or a sample in under {1e3 * AIM_FILTER:g} ms", slowest < AIM_FILTER),
    ]
    reached = [verdict(aim, true) for aim, true in met]
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
