"""`python -m muster`, which is what launchers start."""

import os
import sys

if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109  nothing else is imported yet
    del sys.path[0]  # as for the command `muster`: a user's queue.py beside the work takes no library's place

from muster.cli import main

main()
