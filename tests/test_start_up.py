"""Starting without looking for garbage: over when everything is loaded, and never in somebody else's process.

Guards against a process that keeps its garbage for good because the start's settings stayed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from processes import fake, write_benchmark

THRESHOLDS = """
import gc, json, sys
usual = gc.get_threshold()
class Kept:
    alive = 0
    def __init__(self): self.me = self; Kept.alive += 1
    def __del__(self): Kept.alive -= 1
{work}
print(json.dumps([gc.get_threshold() == usual, gc.get_freeze_count() == 0]))
"""


def tell(work: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", THRESHOLDS.format(work=work)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_the_usual_thresholds_come_back_and_nothing_is_exempted_for_good() -> None:
    assert (
        tell("from muster.core import start_up; start_up.begin(); start_up.begin(); start_up.done()")
        == "[true, true]"
    )


def test_garbage_is_still_found_while_it_starts() -> None:
    made = """
from muster.core import start_up
start_up.begin()
for _ in range(1_500_000): Kept()
assert Kept.alive < 1_500_000
start_up.done()
"""
    assert tell(made) == "[true, true]"


def test_what_was_loaded_is_not_looked_through_at_once_and_is_found_later() -> None:
    made = """
from muster.core import start_up
start_up.begin()
for _ in range(10_000): Kept()
start_up.done()
kept = [[] for _ in range(usual[0] + 1)]
assert Kept.alive == 10_000
gc.collect()
assert Kept.alive == 0
"""
    assert tell(made) == "[true, true]"


def test_a_process_of_somebody_elses_is_left_as_it_is(tmp_path: Path) -> None:
    task = write_benchmark(tmp_path, 3)
    work = f"""
import muster
muster.evaluate("echo", [{str(task)!r}], backend={fake("Echo")!r}, output={str(tmp_path / "run")!r}, engine="inline")
"""
    assert tell(work) == "[true, true]"
