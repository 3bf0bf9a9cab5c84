"""What a forked `muster` starts of Muster's own is forked, too: from a copy of it that was made before it began.

Each is a child of whoever has started it, as if it had been executed: `Popen` and asyncio wait for it, `/proc` shows
its command line and its variables. The copy forks a process that forks it and ends, and its orphan is adopted here.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

LONGEST = 1 << 17
LAUNCHERS = ("torch.distributed.run", "accelerate.commands.launch")
_MOST_STREAMS = 16
_ABOVE = 256
"""Where file descriptors are out of the way of those that are to get a certain number."""
_PR_SET_MM, _PR_SET_MM_ARG_END = 35, 9
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWNET = 0x00020000, 0x04000000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000
_TESTS = Path(__file__).parent
_libc = ctypes.CDLL(None, use_errno=True)
_execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_end = os._exit  # which `muster` watches
Order = Mapping[str, Any]


def fork() -> int:
    """As `os.fork`, which from Python 3.12 on warns of pyarrow's allocator: it has a thread, and knows of forks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def have_children_forked(may_be: Callable[[Mapping[str, str]], bool]) -> None:
    """From now on this process's `Popen` of `python -m muster…` forks.

    `may_be`: whether a process with these variables would import what this one has. Comes back in this process, and in
    every one that it starts so, which then is that.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if copy := fork():
        theirs.close()
        _Starter(ours, copy).install(may_be)
        return
    ours.detach()
    os.closerange(3, theirs.fileno())  # who waits for the end of a connection waits for this process's, too
    os.closerange(theirs.fileno() + 1, _ABOVE)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.close(nothing)
    retitle(["multiprocessing.forkserver"], {}, whole=False)  # muster.cli.leftovers leaves those alone
    order, streams = _serve(theirs)
    theirs.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _place_streams(order["numbers"], streams)
    become(order, may_be)
    sys.exit(0)


def become(order: Order, may_be: Callable[[Mapping[str, str]], bool]) -> None:
    """Be `python -m MODULE ARGUMENTS`, or `python FILE ARGUMENTS`, with these variables."""
    if order["own_session"]:
        os.setsid()
    os.chdir(order["cwd"])
    take_on(order["env"])
    added = [word for word in os.environ.get("PYTHONPATH", "").split(os.pathsep) if word]
    sys.path[:0] = [word for word in added if word not in sys.path]
    name, arguments = order["module"], order["arguments"]
    if Path(name).is_file():
        sys.path.insert(0, str(Path(name).parent))
        sys.argv = [name, *arguments]
        retitle([sys.executable, *sys.argv], os.environ)
        runpy.run_path(name, run_name="__main__")
        return
    if name == "muster" or "torch" in sys.modules:  # other workers start none
        have_children_forked(may_be)
    retitle([sys.executable, "-m", name, *arguments], os.environ)
    if name == "muster":
        module = importlib.import_module("muster.cli")
        sys.argv = [str(Path(module.__file__ or "").parents[1] / "__main__.py"), *arguments]
    else:
        module = importlib.import_module(name)
        sys.argv = [module.__file__ or "", *arguments]
    sys.modules["__main__"] = module  # which children of multiprocessing import
    try:
        module.main()
    except SystemExit as ended:
        leave(ended.code)
    leave(None)


def leave(code: object) -> NoReturn:
    """Exit as `SystemExit(code)` would have it, but leave the interpreter whole.

    With all that is imported here, taking it apart takes twice as long as a short run.
    """
    if not isinstance(code, int | None):
        sys.stderr.write(f"{code}\n")
    status = code if isinstance(code, int) else int(code is not None)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            status = 120  # as the interpreter has it
    _end(status & 0xFF)


def take_on(env: Mapping[str, str]) -> None:
    """Have these variables and no others."""
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # it may have been looked up with others


def enter(host: Mapping[str, Any]) -> None:
    """Be on a host, as `netns.Host.command` has programs be: in its network, with its name, without others' disks."""
    with Path(host["network"]).open() as network:
        _call("setns", network.fileno(), _CLONE_NEWNET)
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWUTS)
    _call("mount", None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
    name = os.fsencode(host["name"])
    _call("sethostname", name, ctypes.c_size_t(len(name)))
    for folder in host["hidden"]:
        _call("mount", b"none", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), None)


def enter_namespaces_of(process: int) -> None:
    """Be where a process is that is on a host already: in its network, with its name and its disks."""
    with contextlib.ExitStack() as stack:
        spaces = [
            (stack.enter_context(Path(f"/proc/{process}/ns/{name}").open()), kind)
            for name, kind in (("net", _CLONE_NEWNET), ("uts", _CLONE_NEWUTS), ("mnt", _CLONE_NEWNS))
            if Path(f"/proc/{process}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink()
        ]
        for space, kind in spaces:
            _call("setns", space.fileno(), kind)


def _call(name: str, *arguments: object) -> None:
    """A function of the C library; 0 is success."""
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


class _Starter:
    """Asks the copy of this process."""

    def __init__(self, connection: socket.socket, copy: int) -> None:
        self._connection, self._copy, self._lock = connection, copy, threading.Lock()
        self._owner = os.getpid()

    def install(self, may_be: Callable[[Mapping[str, str]], bool]) -> None:
        """In the place of what executes programs."""
        starter = self

        def execute_child(  # type: ignore[no-untyped-def]
            self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more,
        ) -> None:  # fmt: skip
            variables = dict(os.environ if env is None else env)
            words = (
                own_words(args)
                if not shell and preexec_fn is None and os.getpid() == starter._owner
                else None
            )
            if words is not None and may_be(variables):
                streams = [0 if p2cread == -1 else p2cread, 1 if c2pwrite == -1 else c2pwrite]
                streams += [2 if errwrite == -1 else errwrite, *pass_fds]
                order = {
                    "module": words[0],
                    "arguments": words[1:],
                    "env": variables,
                    "cwd": os.fspath(cwd or Path.cwd()),
                    "own_session": more[5],
                    "numbers": [0, 1, 2, *pass_fds],
                }
                if (pid := starter.start(order, streams)) is not None:
                    self.pid, self._child_created = pid, True
                    self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)
                    return
            _execute(
                self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *more,
            )  # fmt: skip

        subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]

    def start(self, order: Order, streams: Sequence[int]) -> int | None:
        """Returns the process's id; None where the copy is gone, as by a signal to the whole group."""
        adopts = ctypes.c_int()
        with self._lock:
            _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts), 0, 0, 0)
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._connection, [json.dumps(order).encode()], streams)
                return int(self._connection.recv(LONGEST))
            except (OSError, ValueError):
                return None
            finally:
                _libc.prctl(_PR_SET_CHILD_SUBREAPER, adopts.value, 0, 0, 0)


def own_words(args: object) -> list[str] | None:
    """Module and arguments of a command line that starts a module of Muster with this Python; else None.

    Also of one that starts a launcher, where torch is loaded, or a file of the tests.
    """
    if not isinstance(args, list | tuple) or not args or args[0] != sys.executable:
        return None
    words = [os.fspath(word) for word in args[1:]]
    if words[:1] in (["-P"], ["-u"]):
        del words[0]
    if words and Path(words[0]).parent == _TESTS:
        return words
    if len(words) < 2 or words[0] != "-m":
        return None
    if words[1].partition(".")[0] != "muster" and not (words[1] in LAUNCHERS and "torch" in sys.modules):
        return None
    return words[1:]


def _serve(asked: socket.socket) -> tuple[Order, list[int]]:
    """Comes back in each process that it forks."""
    while True:
        message, streams, _flags, _address = socket.recv_fds(asked, LONGEST, _MOST_STREAMS)
        if not message:
            os._exit(0)
        goes_on, go_on = os.pipe()
        told, tell = os.pipe()
        if not (between := fork()):
            if pid := fork():
                os.write(tell, str(pid).encode())
                os._exit(0)
            os.close(go_on)
            os.read(goes_on, 1)  # until its parent is the one that has asked for it
            for end in (goes_on, told, tell):
                os.close(end)
            return json.loads(message), list(streams)
        os.waitpid(between, 0)
        asked.send(os.read(told, 32))
        for end in (goes_on, go_on, told, tell, *streams):
            os.close(end)


def _place_streams(numbers: Sequence[int], streams: Sequence[int]) -> None:
    """Give the received file descriptors the numbers that they are known by."""
    aside = [fcntl.fcntl(stream, fcntl.F_DUPFD, _ABOVE) for stream in streams]
    for stream in streams:
        os.close(stream)
    for number, stream in zip(numbers, aside, strict=True):
        os.dup2(stream, number)
        os.close(stream)


def retitle(words: Sequence[str], env: Mapping[str, str], *, whole: bool = True) -> None:
    """Write over what `/proc` shows as this process's command line and variables, as far as there is room.

    The server was started with some to spare. `whole`: what is left is no part of the command line any more.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end, env_begin, env_end = map(int, fields[45:49])
    title = _join(words)[: end - begin]
    ctypes.memmove(begin, title.ljust(end - begin, b"\0"), end - begin)
    said = _join([f"{name}={value}" for name, value in env.items()])[: env_end - env_begin]
    ctypes.memmove(env_begin, said.ljust(env_end - env_begin, b"\0"), env_end - env_begin)
    if whole:  # needs root; else the command line ends with empty words
        with contextlib.suppress(OSError):
            _libc.prctl(_PR_SET_MM, _PR_SET_MM_ARG_END, ctypes.c_ulong(begin + len(title)), 0, 0)


def _join(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)
