"""How many files this process may have open."""

from __future__ import annotations

import resource


def allow_files(wanted: int) -> int:
    """Raise the limit towards `wanted` open files, as far as the system lets; how many of them there may be then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed
