"""One installation of a toolkit as a run uses it: started when something is asked of it, started again when it died."""

from __future__ import annotations

import atexit
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from muster.core import JSON, ConfigurationError, RunError
from muster.core.interruption import check
from muster.toolkits.messages import Hello
from muster.toolkits.process import Answerer, Frame, ToolkitProcess

T = TypeVar("T")
_SCRIPTS = {"lmms-eval": "muster_lmms_eval.py", "vlmevalkit": "muster_vlmevalkit.py"}
_open: dict[str, ToolkitSession] = {}


class ToolkitSession:
    """Asks a toolkit's process. What was loaded there is loaded again after a restart, before anything is asked."""

    def __init__(self, toolkit: str, python: str, settings: Mapping[str, JSON]) -> None:
        """`settings`: what the process is told first. Nothing is started yet."""
        self.toolkit, self.python = toolkit, python
        self._settings = dict(settings)
        self._process: ToolkitProcess | None = None
        self._hello: Hello | None = None
        self._loaded: list[Mapping[str, JSON]] = []
        self._asking = threading.RLock()

    @property
    def version(self) -> str:
        """The toolkit's version."""
        with self._asking:
            if self._hello is None:
                self._running()
            assert self._hello is not None, "a running process has said hello"
            return self._hello.version

    def load(self, request: Mapping[str, JSON]) -> list[Frame]:
        """Load tasks, now and after every restart."""
        with self._asking:
            frames = list(self.ask(request))
            self._loaded.append(request)
            return frames

    def ask(self, request: Mapping[str, JSON], answer: Answerer | None = None) -> Iterator[Frame]:
        """The rows of an answer as they come. `answer`: who answers for the judge meanwhile.

        Raises as `ToolkitProcess.ask`; the process is then ended, unless it merely refused.
        """
        with self._asking:
            process = self._running()
            before = process.answer
            if answer is not None:
                process.answer = answer
            complete = False
            try:
                for frame in process.ask(request):
                    check()
                    yield frame
                complete = True
            except (ConfigurationError, RunError):
                complete = process.alive
                raise
            finally:
                process.answer = before
                if not complete:  # rows of this answer would be taken for the next one's
                    self.end()

    def only(self, request: Mapping[str, JSON], kind: type[T], answer: Answerer | None = None) -> T:
        """The one row of an answer. Raises as `ask`."""
        rows = [frame.read(kind) for frame in self.ask(request, answer)]
        if len(rows) != 1:
            raise RunError(f"{self.toolkit}: {len(rows)} rows where one was expected")
        return rows[0]

    def take_files(self, names: Sequence[str], into: Path) -> list[Path]:
        """Copy what the toolkit's code wrote below its working directory. Names that lead elsewhere are passed over."""
        process = self._process
        copied: list[Path] = []
        if process is None:
            return copied
        root = process.scratch.resolve()
        for name in names:
            source = (root / name).resolve()
            if not source.is_relative_to(root) or not source.is_file():
                continue
            target = into / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(target)
        return copied

    def end(self) -> None:
        """End the process; the next question starts another."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _running(self) -> ToolkitProcess:
        if self._process is not None and self._process.alive:
            return self._process
        self.end()
        process = ToolkitProcess(self.toolkit, _SCRIPTS[self.toolkit], self.python)
        try:
            self._hello = process.only({"do": "hello", **self._settings}, Hello)
            for request in self._loaded:
                for _frame in process.ask(request):
                    check()
        except BaseException:
            process.end()
            raise
        self._process = process
        return process


def session(toolkit: str, python: str, settings: Mapping[str, JSON]) -> ToolkitSession:
    """The session for an installation and settings: the same for everybody in this process who asks for it."""
    key = repr((toolkit, python, sorted(settings.items())))
    if key not in _open:
        _open[key] = ToolkitSession(toolkit, python, settings)
    return _open[key]


def end_all() -> None:
    """End the processes of all sessions."""
    for each in list(_open.values()):
        each.end()


atexit.register(end_all)
