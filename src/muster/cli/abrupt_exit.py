"""`os._exit()` in somebody's code: it ended `muster run` without a word, with whatever exit code, and no results.

Only what goes through Python's own function is met; C code that calls `exit` can't be.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from muster.core import RunError
from muster.core.foreign_code import is_ours, whose
from muster.core.saying import tell


def guard_exit() -> None:
    """From now on it is told whose code ended this process, whose exit code then is 1. Forked children may end."""
    own, leave = os.getpid(), os._exit

    def told(status: int) -> NoReturn:
        if os.getpid() == own and not is_ours(sys._getframe(1).f_code.co_filename):
            where = whose(traceback.extract_stack()[:-1])
            tell(f"muster: {where} called os._exit({status!r}), and so ended this command")
            leave(RunError.exit_code)
        leave(status)

    os._exit = told
