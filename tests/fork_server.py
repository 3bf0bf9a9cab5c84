"""`muster` as a process of its own for the price of a fork: the imports, most of a short run's time, are there already.

`ForkedMuster` is a `Popen` whose process is a child of a server that has imported what a run imports; there are three,
each a fork of the one before: the second has torch and transformers, too, the third what the tests themselves import.
It is `python -m muster` in all that a test can see: its own process id, working directory, variables and streams, real
signals, exit statuses, and what it starts in turn, which is forked too: `forked_children.py`. `fork_child` takes the
place of `child_process.launch` in the same way, `forked_python.py` that of pytest-xdist's Python and of a launcher's.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from forked_children import (
    LAUNCHERS,
    LONGEST,
    become,
    enter,
    enter_namespaces_of,
    fork,
    have_children_forked,
    leave,
    retitle,
    take_on,
)
from muster.core.child_process import launch as start_afresh

_WAITING = 64
"""Connections that a server hasn't accepted yet."""
SERVERS = "TESTS_FORK_SERVERS"
"""The variable that says where the sockets of the servers are that all processes of one pytest share."""
_COLLECTED = "TESTS_COLLECTED"
_ROOM = 4096, 1 << 15
"""Bytes to spare for command lines, and for variables: see `forked_children.retitle`."""
_OF_THREADS_AND_GPUS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "CUDA_VISIBLE_DEVICES",
)
LIGHT = (
    "muster.run", "muster.cli.app", "muster.cli.run", "muster.engines.choose", "muster.engines.inline",
    "muster.engines.local", "muster.judging.afterwards", "muster.judging.child", "muster.results.statistics",
    "muster.report.terminal", "muster.report.displays", "muster.report.live", "muster.report.console", "muster.demo",
    "muster.tasks.task_schema", "muster.tasks.entries", "muster.tasks.prompts", "muster.tasks.few_shot",
    "muster.tasks.special_tokens", "muster.tasks.sources.native", "muster.tasks.sources.tsv",
    "muster.tasks.sources.shards", "muster.tasks.sources.image_folder", "muster.metrics.exact_match",
    "muster.models.openai.backend", "aiohttp", "typer._adapters", "typer._click.decorators", "pydantic.plugin._loader",
    "pyarrow.parquet", "pandas", "pynvml", "jinja2", "jinja2.sandbox", "jinja2.ext", "jinja2.meta", "mmap",
    "encodings.idna", "encodings.utf_8_sig", "rich.table", "rich.live", "rich._emoji_codes",
    "rich._unicode_data.unicode17-0-0", "scipy.stats",
)  # fmt: skip
HEAVY = (
    *LIGHT, "torch", "transformers", "muster.models.transformers.backend", "muster.models.transformers.loading",
    "muster.models.transformers.generation", "muster.models.transformers.continuous", "transformers.generation",
    "transformers.models.llava.modeling_llava", "transformers.models.llava.processing_llava",
    "transformers.models.clip.modeling_clip", "transformers.models.clip.image_processing_pil_clip",
    "transformers.models.llama.modeling_llama", "muster.metrics.multiple_choice", "PIL.PngImagePlugin",
    "PIL.JpegImagePlugin", "PIL.ImageSequence", *LAUNCHERS,
)  # fmt: skip
TESTS = (
    *HEAVY, "pytest", "hypothesis", "safetensors.torch", "anthropic", "google.genai", "muster.models.anthropic",
    "muster.models.gemini", "muster.models.openai",
)  # fmt: skip
KINDS = {"light": LIGHT, "heavy": HEAVY, "tests": TESTS}
"""The servers, by the names of their sockets."""
_BEFORE_IMPORT = (
    "PYTHON", "LD_", "HOME", "XDG_", "HF_", "HUGGINGFACE", "TRANSFORMERS", "TORCH_", "TOKENIZERS", "OMP_", "MKL_",
    "CUDA",
)  # fmt: skip
"""Variables that are read while something is imported begin so."""
_OF_LAUNCHERS = ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE")
"""Such variables that torchrun sets for its ranks, or reads itself when it begins."""
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
"""The servers'."""


def start_servers(collected: Sequence[str] = ()) -> Path:
    """Start one server of each kind; they end when this process does. Returns the folder of their sockets.

    `collected`: what pytest is asked to run; the last server, which its processes are forks of, imports those modules.
    """
    folder = Path(tempfile.mkdtemp(prefix="fork-"))
    lifeline, theirs = socket.socketpair()
    with contextlib.ExitStack() as stack:
        stack.enter_context(theirs)
        listeners = []
        for kind in KINDS:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            listener.bind(str(folder / kind))
            listener.listen(_WAITING)
            listeners.append(listener.fileno())
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *map(str, listeners), "-" * _ROOM[0]],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *listeners],
            start_new_session=True,  # Ctrl-C reaches what it has started through whoever started that
            env={**_ENVIRONMENT, _COLLECTED: json.dumps(collected), "TESTS_ROOM": "-" * _ROOM[1]},
        )

    def end() -> None:
        lifeline.close()
        process.wait()
        shutil.rmtree(folder)

    atexit.register(end)
    os.environ[SERVERS] = str(folder)
    return folder


class ForkServer:
    """A connection to one server. What it has started goes on when this process ends."""

    def __init__(self, kind: str) -> None:
        folder = os.environ.get(SERVERS) or start_servers()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._connection.connect(str(Path(folder) / kind))
        self._lock = threading.Lock()

    def start(self, order: Mapping[str, Any], streams: Sequence[int]) -> int:
        """Fork a process, with these file descriptors as its 0, 1, 2 and what follows; returns its id."""
        return int(self._ask(order, streams)["pid"])

    def status(self, pid: int) -> int:
        """The exit status of a process that has ended, as `waitpid` has it. Tells it once."""
        try:
            return int(self._ask({"wait": pid})["status"])
        except OSError:
            return signal.SIGKILL  # this process ends too, its server first

    def _ask(self, order: Mapping[str, Any], streams: Sequence[int] = ()) -> Any:
        with self._lock:
            socket.send_fds(self._connection, [json.dumps(order).encode()], streams)
            answer = self._connection.recv(LONGEST)
        if not answer:
            raise RuntimeError("the fork server is gone")
        return json.loads(answer)


_servers: dict[str, ForkServer] = {}


def launched_python(folder: Path) -> str:
    """A program, written to `folder`, for a launcher: `PROGRAM -m muster …` is forked, with torch loaded."""
    servers = os.environ.get(SERVERS) or start_servers()
    script, client = folder / "python", Path(__file__).parent / "forked_python.py"
    words = [sys.executable, "-I", "-S", str(client), str(Path(servers) / "heavy")]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    return str(script)


def can_be_forked(env: Mapping[str, str], but_for: Collection[str] = ()) -> bool:
    """Whether a process with these variables would import the same as the server has. `but_for`: they don't matter."""
    differ = {name for name in {*env, *_ENVIRONMENT} if env.get(name) != _ENVIRONMENT.get(name)} - {*but_for}
    return not any(name.startswith(_BEFORE_IMPORT) for name in differ)


class _Forked(subprocess.Popen[Any]):
    """A `Popen` whose process a server has forked."""

    def __init__(
        self, order: Mapping[str, Any], more: Sequence[int] = (), *, heavy: bool, **options: Any
    ) -> None:
        """`order`: what the server makes of the process. `more`: file descriptors beside its streams."""
        kind = "heavy" if heavy else "light"
        if kind not in _servers:
            _servers[kind] = ForkServer(kind)
        self._server, self._order, self._more = _servers[kind], order, more
        super().__init__([sys.executable, *map(str, order.values())], **options)

    def _execute_child(  # type: ignore[no-untyped-def]
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more,
    ) -> None:  # fmt: skip
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            streams = [
                nothing if p2cread == -1 else p2cread,
                1 if c2pwrite == -1 else c2pwrite,
                2 if errwrite == -1 else errwrite,
                *self._more,
            ]
            place = {"cwd": os.fspath(cwd or Path.cwd()), "env": dict(os.environ if env is None else env)}
            self.pid = self._server.start({**self._order, **place}, streams)
        finally:
            os.close(nothing)
        self._child_created = True
        self._pidfd = os.pidfd_open(self.pid)
        weakref.finalize(self, os.close, self._pidfd)
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None, **_more: object) -> int | None:
        return self._wait_up_to(0)

    def _wait(self, timeout: float | None) -> int:
        if (status := self._wait_up_to(timeout)) is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def _wait_up_to(self, seconds: float | None) -> int | None:
        """The exit status, if it ends within so long."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if self.returncode is None and poll.poll(None if seconds is None else 1000 * seconds):
            with self._waitpid_lock:  # type: ignore[attr-defined]
                if self.returncode is None:
                    self.returncode = os.waitstatus_to_exitcode(self._server.status(self.pid))
        return self.returncode


class ForkedMuster(_Forked):
    """`subprocess.Popen([python, "-m", "muster", …], text=True)`, forked. `on`: a host's `forked_children.Place`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        heavy: bool = False,
        own_session: bool = False,
        on: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        order = {"module": "muster", "arguments": list(arguments), "own_session": own_session, "host": on}
        super().__init__(order, heavy=heavy, text=True, **options)


class ForkedProgram(_Forked):
    """`Popen([python, FILE, …], text=True)`, or with `-m MODULE` in the place of the file, forked.

    What it starts of Muster's own is forked, too.
    """

    def __init__(
        self,
        program: str,
        *arguments: str,
        heavy: bool = False,
        on: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        order = {"program": program, "arguments": arguments, "host": on}
        super().__init__(order, heavy=heavy, text=True, **options)


def may_be_forked(env: Mapping[str, str]) -> bool:
    """Whether a worker with these variables may be a fork; those who start workers set some."""
    return can_be_forked(env, (*_OF_THREADS_AND_GPUS, *_OF_LAUNCHERS, "PYTHONPATH", "PYTHONSAFEPATH"))


def may_be_forked_on_a_host(env: Mapping[str, str]) -> bool:
    """The same on a host of `netns`: its home is empty, and no fake model looks for anything there."""
    return may_be_forked({**env, "HOME": _ENVIRONMENT["HOME"]})


def fork_child(
    module: str, connection: socket.socket, env: Mapping[str, str], output: int, *, own_session: bool
) -> subprocess.Popen[bytes]:
    """What `child_process.launch` does, by the server that has torch and transformers."""
    if not can_be_forked(env, _OF_THREADS_AND_GPUS):
        return start_afresh(module, connection, env, output, own_session=own_session)
    order = {"module": module, "own_session": own_session}
    return _Forked(order, [connection.fileno()], heavy=True, stdout=output, stderr=output, env=env)


class _Server:
    """Serves whoever connects."""

    def __init__(self, lifeline: socket.socket, listener: socket.socket) -> None:
        self._lifeline, self._listener = lifeline, listener
        self._poll = select.poll()
        self._connections: dict[int, socket.socket] = {}
        self._clients: dict[int, int] = {}
        """What a client of `forked_python.py` has had forked, by its connection: it doesn't outlive the client."""
        for each in (lifeline, listener):
            self._poll.register(each, select.POLLIN)

    def serve(self) -> tuple[Mapping[str, Any], Sequence[int]]:
        """Comes back in what it has forked, with the order and its streams."""
        while True:
            for number, _event in self._poll.poll():
                if number == self._lifeline.fileno():
                    os._exit(0)
                if number == self._listener.fileno():
                    connection, _address = self._listener.accept()
                    self._connections[connection.fileno()] = connection
                    self._poll.register(connection, select.POLLIN)
                elif (order := self._answer(number)) is not None:
                    return order

    def _answer(self, number: int) -> tuple[Mapping[str, Any], Sequence[int]] | None:
        connection = self._connections[number]
        message, streams, _flags, _address = socket.recv_fds(connection, LONGEST, 4)
        if not message:
            self._poll.unregister(connection)
            self._connections.pop(number).close()
            if (pid := self._clients.pop(number, None)) is not None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return None
        order = json.loads(message)
        if (pid := order.get("wait")) is not None:
            answer = {"status": os.waitpid(pid, 0)[1]}
            self._clients.pop(number, None)
        elif "client" in order and not may_be_forked_on_a_host(order["env"]):
            answer = {"pid": 0}
        elif pid := fork():
            answer = {"pid": pid}
            if "client" in order:
                self._clients[number] = pid
            for stream in streams:
                os.close(stream)
        else:
            for each in (self._lifeline, self._listener, *self._connections.values()):
                each.close()
            return order, streams
        with contextlib.suppress(OSError):  # who has asked may be gone
            connection.send(json.dumps(answer).encode())
        return None


def _become(order: Mapping[str, Any], streams: Sequence[int]) -> None:
    for target, stream in enumerate(streams[:3]):
        os.dup2(stream, target)
        os.close(stream)
    may_be = may_be_forked
    if (host := order.get("host")) is not None:
        enter(host)
        may_be = may_be_forked_on_a_host
    if (client := order.get("client")) is not None:
        enter_namespaces_of(client)
        may_be = may_be_forked_on_a_host
    if "module" in order:
        become({"arguments": [*map(str, streams[3:])], **order}, may_be)
        return
    os.chdir(order["cwd"])
    take_on(order["env"])
    if "program" in order:
        _run(order["program"], order["arguments"], may_be)
        return
    sys.argv = ["-c"]
    exec(compile(order["code"], "<string>", "exec"), {"__name__": "__main__"})
    leave(None)


def _run(program: str, arguments: Sequence[str], may_be: Callable[[Mapping[str, str]], bool] | None) -> None:
    """`may_be`: which of its children are forked, if any."""
    sys.argv = [program, *arguments]
    if may_be is not None:
        have_children_forked(may_be)
    if Path(program).is_file():
        retitle([sys.executable, program, *arguments], os.environ)
        runpy.run_path(program, run_name="__main__")
        return
    sys.path.insert(0, str(Path.cwd()))
    retitle([sys.executable, "-m", program, *arguments], os.environ)
    try:
        runpy._run_module_as_main(program, alter_argv=False)  # type: ignore[attr-defined]  # as `-m` does
    except SystemExit as ended:
        leave(ended.code)
    leave(None)


def main() -> None:
    """The servers: each forks the next, which imports more."""
    lifeline, *listeners = [socket.socket(fileno=int(word)) for word in sys.argv[1:-1]]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests were started by nohup
    del os.environ["TESTS_ROOM"]
    collected = json.loads(os.environ.pop(_COLLECTED))
    sys.path.remove(str(Path(__file__).parent))  # python put it there; `python -m muster` has none of it
    last = len(listeners) - 1
    for place, (imported, listener) in enumerate(zip(KINDS.values(), listeners, strict=True)):
        if place == last:
            gc.unfreeze()  # hypothesis looks for what refers to what, before tests/conftest.py freezes all of it
        for name in imported:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        if place < last:
            gc.collect()
            gc.freeze()  # else the first collection in a child, at its end at the latest, copies all that both share
            if not fork():
                listener.close()
                continue
        elif collected:
            collect(collected)
        for other in listeners[place + 1 :]:
            other.close()
        _become(*_Server(lifeline, listener).serve())
        return


def collect(asked: Sequence[str]) -> None:
    """Have pytest import the modules of tests, which is most of what collecting them takes."""
    import pytest

    with Path(os.devnull).open("w") as no, contextlib.redirect_stdout(no), contextlib.redirect_stderr(no):
        pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *asked])


if __name__ == "__main__":
    main()
