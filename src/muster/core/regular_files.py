"""Files that come to an end: no FIFO, device or socket is read where a file is expected."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def regular(path: Path) -> Path:
    """`path`, where it is a regular file, also by way of links, or where there is none: opening it then says so.

    Raises `OSError` for what else it may be, which reading might never come to the end of.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return path
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, "no file")
        raise OSError(errno.EINVAL, f"it is {what}, and only regular files are read", str(path))
    return path
