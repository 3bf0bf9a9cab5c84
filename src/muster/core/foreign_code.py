"""The boundary to other people's code: metrics, task files, backends, judges, their libraries.

Such code may raise anything. `except Exception` at the boundary makes a record of it; this makes an exception of what
would pass there unseen (`sys.exit()` in a metric ended the whole run with exit code 0) and lets through what isn't
theirs: signals, which end the run.
"""

from __future__ import annotations

import signal
import sysconfig
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from muster.core.errors import EndedByCodeError, Interruption
from muster.core.interruption import check

_OURS = str(Path(__file__).parents[1])
_STANDARD = sysconfig.get_path("stdlib")


class ForeignCode:
    """`with ForeignCode():` around a call. May be used in any thread, and costs a microsecond."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises `EndedByCodeError` for what isn't an `Exception`, and an interruption that was swallowed."""
        if error is not None and not isinstance(error, Exception):
            if is_theirs(error):
                raise EndedByCodeError(how_it_ended(error)) from error
            return
        check()


def is_theirs(error: BaseException) -> bool:
    """Whether an exception that is no `Exception` was raised by code, and not by a signal or its handler."""
    if isinstance(error, Interruption):
        return False
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        return signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    return not any(frame.f_code in handlers for frame, _line in traceback.walk_tb(error.__traceback__))


def how_it_ended(error: BaseException) -> str:
    """`my_metric.py, line 12, in score, called sys.exit(0)`: whose code ended, and how."""
    if isinstance(error, SystemExit):
        code = error.code if error.code is not None else ""
        what = f"called sys.exit({code!r})" if code != "" else "called sys.exit()"
    else:
        said = str(error)
        what = f"raised {type(error).__name__}" + (f": {said}" if said else "")
    return f"{_where(error)} {what}"


def _where(error: BaseException) -> str:
    return whose(traceback.extract_tb(error.__traceback__))


def whose(frames: Sequence[traceback.FrameSummary]) -> str:
    """`my_metric.py, line 12, in score,`: the innermost line that is neither Muster's nor the standard library's."""
    theirs = [
        frame for frame in frames if not is_ours(frame.filename) and not frame.filename.startswith("<frozen")
    ]
    own = [
        frame for frame in theirs if _is_installed(frame.filename) or not frame.filename.startswith(_STANDARD)
    ]
    if not (chosen := own or theirs or list(frames)):
        return "somebody's code"
    frame = chosen[-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name},"


def is_ours(file: str) -> bool:
    """Whether code of this file is Muster's."""
    return file.startswith(_OURS)


def _is_installed(file: str) -> bool:
    return "site-packages" in file or "dist-packages" in file
