"""A table of odd video files: which frames Muster shows, beside a player, decord, torchcodec and OpenCV.

    python -m benchmarks.videos --others PYTHON --write       # an interpreter with decord, torchcodec, torch and OpenCV
    python -m benchmarks.videos cut.mp4 vfr.mkv --keep files  # only these, and keep them

Each frame carries its own number. Files are made with PyAV; the player is FFmpeg's program, which has to be installed.
Without `--others` only Muster and the player are compared. Exits 1 where Muster shows other frames than the player.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.__main__ import results_file
from benchmarks.tables import machine, markdown
from benchmarks.videos.cases import CASES, Case
from benchmarks.videos.shown import Shown, told

ROOT = Path(__file__).parents[2]
HERE = ("player", "muster")
OTHERS = ("muster-torchcodec", "decord", "torchcodec", "opencv")
INTRODUCTION = """\
Each frame of these files carries its own number, 0 to 49 where nothing else is said, and three colours. `=`: all
frames, in order, upright, in their colours, and the same again when eight of them are asked for alone. Otherwise the
numbers that were shown (how many in brackets; `?`: not readable), or how they stood. The player is FFmpeg's program;
where others differ from it they are wrong. Frame rates are as Muster has them, and others' where they differ."""
MOST_SECONDS = 120
"""For a tool to read one file, and to start."""


class Told(NamedTuple):
    """What a tool said."""

    version: str
    files: list[Shown]


def main() -> int:
    """Make the files, ask the tools, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of files; all without one")
    parser.add_argument("--others", metavar="PYTHON", help="an interpreter that has the other tools")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the files there")
    parser.add_argument("--write", action="store_true", help="keep the table in RESULTS-videos.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {case.name for case in CASES}:
        parser.error(f"no file {', '.join(sorted(unknown))}")
    cases = [case for case in CASES if not arguments.names or case.name in arguments.names]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        files = [made(case, folder) for case in cases]
        said = {tool: ask(sys.executable, tool, files) for tool in HERE}
        if arguments.others:
            said |= {tool: ask(arguments.others, tool, files) for tool in OTHERS}
    text, right = report(cases, said)
    sys.stdout.write(text)
    if arguments.write:
        results_file("videos").write_text(text)
    return 0 if right else 1


def made(case: Case, folder: Path) -> Path:
    """Write a case's file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        case.make(folder / case.name, Path(aside))
    return folder / case.name


def ask(python: str, tool: str, files: Sequence[Path]) -> Told:
    """What a tool shows of files, each process going on where the one before died or hung."""
    version, found = "", list[Shown]()
    while len(found) < len(files):
        left = files[len(found) :]
        lines, end = _lines([python, "-m", "benchmarks.videos.tools", tool, *map(str, left)], 1 + len(left))
        if not lines:
            raise SystemExit(f"{tool} doesn't start: {end}")
        version = json.loads(lines[0])["version"]
        found += [Shown(**json.loads(line)) for line in lines[1:]]
        if len(found) < len(files):
            found.append(Shown(error=end))
    return Told(version, found)


def _lines(command: Sequence[str], wanted: int) -> tuple[list[str], str]:
    """What a command prints, and how it ended where that is less than was wanted."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env, text=True
    ) as process:
        assert process.stdout is not None
        while len(lines) < wanted:
            ready, _, _ = select.select([process.stdout], [], [], MOST_SECONDS)
            if not ready:
                process.kill()
                return lines, "never ends"
            if not (line := process.stdout.readline()):
                break
            lines.append(line)
    return lines, f"its process ended with {process.returncode}"


def report(cases: Sequence[Case], said: dict[str, Told]) -> tuple[str, bool]:
    """The table, and whether Muster and the player agree everywhere."""
    rows: list[list[str]] = []
    right = True
    for place, case in enumerate(cases):
        shown = {tool: found.files[place] for tool, found in said.items()}
        cells = {tool: told(found, case.shows) for tool, found in shown.items()}
        right = right and all(
            cells[tool] == "=" for tool in cells if tool in HERE or tool.startswith("muster")
        )
        expected = "" if len(case.shows) == 50 else f" Shows {len(case.shows)}."
        rows.append([f"`{case.name}`", f"{case.oddity}.{expected}", *cells.values(), _rates(shown)])
    header = ["file", "what is odd", *said, "frames a second"]
    wrong = [sum(row[2 + column] != "=" for row in rows) for column in range(len(said))]
    counted = ", ".join(f"{tool} {count}" for tool, count in zip(said, wrong, strict=True))
    versions = "; ".join(f"{tool}: {found.version}" for tool, found in said.items())
    aim = f"**Aim: Muster shows what the player shows, in all {len(cases)} files: {'met' if right else 'MISSED'}.**"
    parts = [
        "# Which frames of a video are shown",
        "    python -m benchmarks.videos --others PYTHON --write",
        machine(),
        f"{versions}.",
        INTRODUCTION,
        markdown(header, rows).rstrip(),
        f"Files of which something else is shown: {counted}.",
        aim,
    ]
    return "\n\n".join(parts) + "\n", right


def _rates(shown: dict[str, Shown]) -> str:
    rates = {tool: f"{found.fps:.4g}" for tool, found in shown.items() if found.fps}
    ours = rates.get("muster", "")
    others = [f"{tool} {rate}" for tool, rate in rates.items() if rate != ours]
    return ", ".join([ours, *others])


if __name__ == "__main__":
    sys.exit(main())
