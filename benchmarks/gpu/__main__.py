"""All that wants a GPU, in one command that ends within ten minutes.

    python -m benchmarks.gpu [--output FILE]      # one GPU of 80 GB or more: a 7B architecture in bfloat16
    python -m benchmarks.gpu --scale tiny         # a rehearsal, also on a CPU
    python -m benchmarks.gpu --one-process --scale tiny   # the same without starting an interpreter for each part
    python -m benchmarks.gpu --only speed,memory

Needs torch, transformers, accelerate and Muster's own few packages, no network and no vLLM; 20 GB of disk under TMPDIR
and as much memory. Where torch is there and a few small packages aren't, carry their wheels and install with
`python -m pip install --no-index --find-links WHEELS -e .`

Every part is a process of its own, so that its memory is gone when it ends and its failure is only its own. A part that
takes longer than it may is ended, and one for which too little time is left isn't begun: both are said, and make the
exit code 1, as a missed aim does.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from benchmarks.gpu.setting import Scale, Setting
from benchmarks.runs import scratch
from benchmarks.tables import machine

MODEL_GIB = 20
"""Of the disk: Qwen2.5-VL-7B in bfloat16 is 15.5 GiB."""
MISSED = 10
"""A part's exit status, other than an exception's."""
SPARE = 15.0
"""Seconds kept for the end."""


class Part(NamedTuple):
    """One question."""

    name: str
    title: str
    least: float
    """Seconds that must be left for it to begin: an estimate of what it takes on an H100, where it has not run."""
    most: float
    """Seconds after which it is ended."""


PARTS = (
    Part("build", "The model", 30, 120),
    Part("demo", "The demo model's scores, here and on the CPU", 25, 90),
    Part("speed", "Tokens per second, and how busy the device is", 120, 240),
    Part("memory", "Memory that `muster plan` predicts, and memory measured", 40, 90),
    Part("growth", "`--batch-size auto` until memory runs out", 40, 90),
    Part("start", "The first answer", 40, 90),
    Part("reuse", "Several questions about an image", 30, 60),
    Part("composition", "Does an answer depend on what else is in its batch?", 50, 120),
)
NEED_THE_MODEL = {"speed", "growth", "start", "reuse", "composition"}


class Output:
    """Standard output, and a file beside it where one was asked for."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """To both, at once."""
        for stream in (sys.stdout, self._file):
            if stream is not None:
                stream.write(text)
                stream.flush()


def run_part(part: Part, setting: Setting, seconds: float, output: Output) -> str:
    """Run one, passing on what it prints; how it ended: `met`, `MISSED` or why it didn't finish."""
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--part", part.name, "--folder", str(setting.folder)),
        *("--scale", setting.scale, "--device", setting.device),
    ]
    said = setting.folder / f"{part.name}.txt"
    with said.open("w") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT) as process:
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            status = None
    text = said.read_text(errors="replace")
    output.write(f"\n## {part.title}\n" + text)
    if status is None:
        return f"ended after {seconds:.0f} s"
    return {0: "met", MISSED: "MISSED"}.get(status, f"failed with {status}")


def measure_here(name: str, setting: Setting) -> bool:
    """A part in this process; whether its aims were met."""
    return bool(importlib.import_module(f"benchmarks.gpu.{name}").measure(setting))


def run_in_turn(parts: Sequence[Part], setting: Setting, output: Output) -> dict[str, str]:
    """All of them in this process, whatever time they take; how each ended."""
    ended: dict[str, str] = {}
    for part in parts:
        output.write(f"\n## {part.title}\n")
        ended[part.name] = "met" if measure_here(part.name, setting) else "MISSED"
    return ended


def run_parts(parts: Sequence[Part], setting: Setting, minutes: float, output: Output) -> dict[str, str]:
    """All of them, as far as the time goes; how each ended."""
    over = time.monotonic() + 60 * minutes - SPARE
    ended: dict[str, str] = {}
    for part in parts:
        left = over - time.monotonic()
        if part.name in NEED_THE_MODEL and not (setting.model / "config.json").exists():
            ended[part.name] = "not run: there is no model"
        elif setting.large and left < part.least:
            ended[part.name] = f"not run: {left:.0f} s were left, and it takes {part.least:.0f}"
        else:
            began = time.monotonic()
            ended[part.name] = run_part(part, setting, max(1.0, min(part.most, left)), output)
            output.write(f"\n({time.monotonic() - began:.0f} s)\n")
    return ended


def find_setting(scale: Scale | None, folder: Path) -> Setting:
    """What this machine can do. Ends the program where it can't do what was asked."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen: Scale = scale or ("7b" if device == "cuda" else "tiny")
    if chosen == "7b" and device == "cpu":
        raise SystemExit("--scale 7b needs a GPU, and torch sees none here; --scale tiny runs on a CPU")
    free = shutil.disk_usage(folder).free / 2**30
    if chosen == "7b" and free < MODEL_GIB:
        raise SystemExit(
            f"{folder} has {free:.0f} GiB left, and the model takes {MODEL_GIB}: set TMPDIR to another folder"
        )
    return Setting(folder, chosen, "cuda" if device == "cuda" else "cpu")


def chosen_parts(names: str | None) -> list[Part]:
    """Those that were asked for, and the model that they need. Raises `ValueError` for an unknown name."""
    if names is None:
        return list(PARTS)
    wanted = set(names.split(","))
    if unknown := wanted - {part.name for part in PARTS}:
        known = ", ".join(part.name for part in PARTS)
        raise ValueError(f"no part {', '.join(sorted(unknown))}: one of {known}")
    if wanted & NEED_THE_MODEL:
        wanted.add("build")
    return [part for part in PARTS if part.name in wanted]


def describe_device(setting: Setting) -> str:
    """The device, in a line."""
    import torch

    if setting.device == "cpu":
        return "**No GPU here: a rehearsal of all parts at small size. Its numbers say nothing of a GPU.**"
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}, {total / 2**30:.0f} GiB, {free / 2**30:.0f} free."


def main() -> int:
    """Run the parts; 1 if an aim was missed or a part didn't finish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=("7b", "tiny"), help="default: 7b on a GPU, tiny on a CPU")
    parser.add_argument("--only", metavar="PART,…", help=f"of {', '.join(part.name for part in PARTS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (default 10)")
    parser.add_argument("--output", type=Path, help="a file that gets the tables too, as they come")
    parser.add_argument("--one-process", action="store_true", help="run the parts in this one")
    for name in ("--part", "--folder", "--device"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        met = measure_here(given.part, Setting(Path(given.folder), given.scale, given.device))
        return 0 if met else MISSED
    try:
        parts = chosen_parts(given.only)
    except ValueError as error:
        parser.error(str(error))
    file = given.output.open("w") if given.output else None
    try:
        output = Output(file)
        with scratch() as folder:
            setting = find_setting(given.scale, folder)
            output.write(f"# What a GPU shows\n\n{machine()}\n\n{describe_device(setting)}\n")
            if given.one_process:
                ended = run_in_turn(parts, setting, output)
            else:
                ended = run_parts(parts, setting, given.minutes, output)
        lines = "".join(f"| {name} | {how} |\n" for name, how in ended.items())
        output.write(f"\n## All parts\n\n| part | aims |\n|---|---|\n{lines}")
    finally:
        if file is not None:
            file.close()
    return 0 if all(how == "met" for how in ended.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
