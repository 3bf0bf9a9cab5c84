"""Muster's own child processes: they end with their parent, by no group's signal, and only as what they were.

Guards against one that stays when its parent was killed, one that a user's `queue.py` ends, one that Ctrl-C takes from
a run that only drains, and a parent that waits for ever for one that is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from muster.core.child_process import ChildProcess, describe_exit
from processes import DEADLINE, until_gone

CHILD = """
import queue, subprocess, time
from muster.core.child_process import Parent

parent = Parent()
while True:
    said = parent.receive().decode(errors="replace")
    if "sleep" in said:
        parent.send(subprocess.Popen(["sleep", "600"]).pid)
    elif "end" in said:
        raise SystemExit(7)
    else:
        parent.send(said)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Importable by the child, which starts where a user's own `queue.py` lies."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "echo_child.py").write_text(CHILD)
    (tmp_path / "queue.py").write_text("raise SystemExit('this is not the library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.chdir(tmp_path)
    return "echo_child"


@pytest.fixture
def child(module: str) -> Iterator[ChildProcess]:
    started = ChildProcess(module, own_session=True)
    yield started
    started.end()


def test_it_answers_and_signals_of_a_group_are_not_its_end(child: ChildProcess) -> None:
    child.send("one")
    assert b"one" in child.receive()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(child.pid, number)
    child.send("two")
    assert b"two" in child.receive()
    assert describe_exit(child.end()) == "killed by SIGKILL"
    assert child.end() == -signal.SIGKILL, "may be said again"
    with pytest.raises(OSError):
        child.send("three")


def test_what_it_has_started_ends_with_it(child: ChildProcess) -> None:
    child.send("sleep")
    sleeper = psutil.Process(int.from_bytes(child.receive()[1:], "big"))
    child.end()
    until_gone(sleeper)


def test_its_own_end_says_how_it_was(child: ChildProcess) -> None:
    child.send("end")
    with pytest.raises((EOFError, OSError)):
        child.receive()
    assert describe_exit(child.end(patience=DEADLINE)) == "ended with status 7"


def test_one_that_is_forgotten_is_ended(module: str) -> None:
    started = ChildProcess(module)
    process = psutil.Process(started.pid)
    del started
    until_gone(process)


def test_its_words_go_to_a_log(module: str, tmp_path: Path) -> None:
    (tmp_path / "modules" / "echo_child.py").write_text("print('a word')")
    started = ChildProcess(module, log_file=tmp_path / "log")
    assert started.end(patience=DEADLINE) == 0
    assert (tmp_path / "log").read_text() == "a word\n"


def test_it_ends_with_a_parent_that_was_killed(module: str) -> None:
    code = f"""
        import time
        from muster.core.child_process import ChildProcess
        child = ChildProcess({module!r})
        print(child.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    process = psutil.Process(int(parent.stdout.readline()))
    os.kill(process.pid, signal.SIGSTOP)
    parent.kill()
    parent.communicate()
    os.kill(process.pid, signal.SIGCONT)
    until_gone(process)
