"""Other people's code that calls `sys.exit()`, raises what is no `Exception`, or leaves something running.

Guards against `muster run` that ends with exit code 0, in silence and without results, because a metric, a task file or
a backend called `sys.exit()`; and against one that never ends.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

import psutil
import pytest

from forked import Forker
from muster.core import EndedByCodeError, InterruptedRunError
from muster.core.foreign_code import ForeignCode
from muster.core.interruption import interruptible
from test_interruptions import HERE, words

KINDS = {
    "exit 0": "called sys.exit()",
    "exit 3": "called sys.exit(3)",
    "exit text": "called sys.exit('samples failed')",
    "keyboard": "raised KeyboardInterrupt",
    "generator": "raised GeneratorExit",
    "own": "raised Own: no more",
}
POINTS = {
    "import": 2,
    "tasks": 2,
    "source": 1,
    "prompt": 1,
    "load": 1,
    "generate": 1,
    "score": 3,
    "aggregate": 1,
}
"""Points of a run, and the exit code of what ends there. A metric that fails on one answer costs that answer."""


@pytest.fixture
def forker(tmp_path: Path) -> Forker:
    return Forker(tmp_path)


@pytest.mark.parametrize("point", POINTS)
def test_nobody_ends_a_run_in_silence(forker: Forker, tmp_path: Path, point: str) -> None:
    for number, (what, said) in enumerate(KINDS.items()):
        if number % len(POINTS) != list(POINTS).index(point) % len(KINDS) and what not in ("exit 0", "own"):
            continue
        folder = tmp_path / str(number)
        env = {"AT": point, "WHAT": what, "REACHED": str(folder)}
        forker.start(*words(folder, "inline"), env=env)
        ended = forker.wait()
        assert ended.status == POINTS[point], (what, ended.said)
        if POINTS[point] != 3:
            assert said in ended.said
            assert "unruly.py, line" in ended.said, "whose code it was"
            assert not (folder / "run" / "results.json").exists()
        assert "Traceback" not in ended.said or point in ("import", "generate")  # of a backend, on purpose


@pytest.mark.parametrize("point", ["import", "source", "load", "generate", "score", "aggregate"])
def test_an_abrupt_end_is_told_too(forker: Forker, tmp_path: Path, point: str) -> None:
    """`os._exit(0)` raises nothing that could be caught."""
    env = {"AT": point, "WHAT": "abrupt", "REACHED": ""}
    forker.start(*words(tmp_path, "inline"), env=env)
    ended = forker.wait()
    assert ended.status == 1, ended.said
    assert "unruly.py, line" in ended.said
    assert "called os._exit(0), and so ended this command" in ended.said
    assert not (tmp_path / "run" / "results.json").exists()


def test_what_a_backend_forks_may_end_as_it_likes(forker: Forker, tmp_path: Path) -> None:
    backend = tmp_path / "forks.py"
    backend.write_text(
        BACKEND.format(
            leave="import os; pid = os.fork() or os._exit(7); assert os.waitpid(pid, 0)[1] == 7 << 8"
        )
    )
    given = words(tmp_path, "inline")
    given[given.index("--backend") + 1] = f"{backend}:Model"
    forker.start(*given)
    ended = forker.wait()
    assert ended.status == 0, ended.said
    assert "_exit" not in ended.said


@pytest.mark.parametrize("point", ["load", "generate"])
@pytest.mark.parametrize("what", ["exit 0", "keyboard"])
def test_a_workers_end_is_told_too(forker: Forker, tmp_path: Path, point: str, what: str) -> None:
    env = {"AT": point, "WHAT": what, "REACHED": ""}
    forker.start(*words(tmp_path, "local", "--replicas", "1"), env=env)
    ended = forker.wait()
    assert ended.status == 1, ended.said
    assert KINDS[what] in ended.said
    assert "unruly.py, line" in ended.said


@pytest.mark.parametrize("what", KINDS)
def test_the_boundary_makes_an_exception_of_all_kinds(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import unruly

    monkeypatch.setenv("AT", "here")
    monkeypatch.setenv("WHAT", what)
    with interruptible(), pytest.raises(EndedByCodeError) as caught, ForeignCode():
        unruly.at("here")
    assert KINDS[what] in str(caught.value)
    assert f"{HERE / 'unruly.py'}, line" in str(caught.value)


def test_the_boundary_lets_signals_pass_also_in_somebody_elses_process() -> None:
    """A training job's own handler may well end it by `sys.exit()`."""
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
    try:
        with pytest.raises(SystemExit), ForeignCode():
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where a shell runs this in the background
    try:
        with pytest.raises(KeyboardInterrupt), ForeignCode():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
    try:
        with pytest.raises(InterruptedRunError), interruptible(), ForeignCode():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_swallowed_signal_is_raised_again() -> None:
    with (
        pytest.raises(InterruptedRunError, match="SIGTERM"),
        interruptible(),
        contextlib.suppress(BaseException),
    ):
        signal.raise_signal(signal.SIGTERM)


BACKEND = """
import subprocess, sys, threading, time
from muster.core import Completion
class Model:
    def __init__(self, settings):
        {leave}
    def generate(self, requests):
        for request in requests:
            yield Completion(request.key, "x")
"""
SLEEPER = "import time; time.sleep(600)"
LEFT = {
    "thread": ("threading.Thread(target=time.sleep, args=(600,), name='forgotten').start()", "forgotten"),
    "child": (f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])", "time.sleep(600)"),
    "session": (
        f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)",
        "time.sleep(600)",
    ),
}


@pytest.mark.parametrize(
    ("left", "engine"),
    [("thread", "inline"), ("child", "inline"), ("session", "inline"), ("session", "local")],
)
def test_what_a_backend_left_behind_holds_nobody_up(
    forker: Forker, tmp_path: Path, left: str, engine: str
) -> None:
    """A thread kept the interpreter for ever; a child went on with the GPU's memory."""
    backend, sleeper = tmp_path / "leaves.py", f"import time; time.sleep(600)  # {tmp_path}"
    backend.write_text(BACKEND.format(leave=LEFT[left][0].replace(SLEEPER, sleeper)))
    given = words(tmp_path, engine, "--replicas", "1")
    given[given.index("--backend") + 1] = f"{backend}:Model"
    forker.start(*given)
    ended = forker.wait()
    assert ended.status == 0, ended.said
    assert LEFT[left][1] in ended.said, "what was left is said"
    assert not [
        each.pid for each in psutil.process_iter(["cmdline"]) if sleeper in (each.info["cmdline"] or [])
    ]
