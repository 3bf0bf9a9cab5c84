"""The benchmarks run and print finite numbers. Whether an aim is met on a busy machine is not a test's business."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fork_server import ForkedProgram
from processes import DEADLINE
from scripts.chromium import is_installed

needs_chromium = pytest.mark.skipif(not is_installed(), reason="needs Debian's chromium-driver")
ROOT = Path(__file__).parents[1]
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def run(name: str) -> str:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ForkedProgram(f"benchmarks.{name}", "--quick", heavy=True, cwd=ROOT, **streams) as process:
        output, errors = process.communicate(timeout=3 * DEADLINE)
    assert process.returncode in (0, 1), errors  # 1: an aim was missed, which --quick can't judge
    assert "Traceback" not in errors, errors
    assert "**Aim: " in output, errors
    return str(output)


def tables(output: str) -> list[list[list[str]]]:
    """Every Markdown table: its rows without the header, as cells."""
    found: list[list[list[str]]] = []
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|--"):
            found.append([])
            for row in lines[number + 1 :]:
                if not row.startswith("|"):
                    break
                found[-1].append([cell.strip() for cell in row.strip("|").split("|")])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("balance_processes", [1]),
        ("overhead", [4, 3, 5]),
        ("request_steps", [8]),
        ("start", [4, 8]),
        ("collection", [2, 1]),
        ("api_client", [5]),
        ("scoring", [3]),
        ("tsv_loading", [3]),
        pytest.param("report_page", [1, 11], marks=needs_chromium),
        ("view_index", [7]),
        ("gate_simulation", [2, 3]),
        ("transformers_speed", [4]),
        ("video_reuse", [2]),
    ],
)
def test_a_quick_run_prints_its_tables_with_finite_numbers(name: str, rows: list[int]) -> None:
    found = tables(run(name))
    assert [len(table) for table in found] == rows
    for table in found:
        for row in table:
            said = " ".join(row[1:])
            assert not re.search(r"\b(nan|inf|None)\b", said), row
            numbers = [float(number.replace(",", "")) for number in NUMBER.findall(said)]
            assert numbers, row
            assert all(math.isfinite(number) for number in numbers)
            assert any(numbers), row
