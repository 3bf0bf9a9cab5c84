"""A launcher's rank that was stopped goes on; what was paused on purpose does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from muster.engines.resume_watch import _LOOK_SECONDS, _LOOKS
from processes import gone, until

RANK = """
import time
from muster.engines.resume_watch import resume_when_stopped
with resume_when_stopped():
    print("begun", flush=True)
    time.sleep(60)
"""
LAUNCHER = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {RANK!r}])"


@pytest.fixture
def rank() -> Iterator[psutil.Process]:
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True)
    try:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "begun\n"
        (found,) = psutil.Process(launcher.pid).children()
        yield found
    finally:
        for process in psutil.Process(launcher.pid).children(recursive=True):
            process.kill()
        launcher.kill()
        launcher.communicate()


def stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def test_a_stopped_rank_goes_on_unless_its_launcher_was_stopped_too(rank: psutil.Process) -> None:
    launcher = rank.parent()
    assert launcher is not None
    launcher.send_signal(signal.SIGSTOP)
    rank.send_signal(signal.SIGSTOP)
    until(lambda: stopped(rank))
    time.sleep((_LOOKS + 2) * _LOOK_SECONDS)
    assert stopped(rank)
    launcher.send_signal(signal.SIGCONT)
    until(lambda: not stopped(rank))


def test_who_looks_after_a_rank_ends_with_it(rank: psutil.Process) -> None:
    (watch,) = rank.children()
    rank.kill()
    until(lambda: gone(watch))
