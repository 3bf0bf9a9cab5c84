"""Running an engine's event loop from wherever Muster was called: a command, a thread, a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

from muster.core import InterruptedRunError


def run_to_end(main: Callable[[], Coroutine[object, None, None]], interrupt: Callable[[int], None]) -> None:
    """Run `main()` to its end. Where this thread has a running loop already (a notebook), in another thread.

    `interrupt` is called with the signal that arrives meanwhile; it must be safe to call from another thread.
    """
    if not _has_loop():  # outside of any `except`: what a run raises has nothing to do with a missing loop
        asyncio.run(main())
        return
    with ThreadPoolExecutor(1, "muster-engine") as pool:
        ended = pool.submit(lambda: asyncio.run(main()))
        try:
            ended.result()
        except InterruptedRunError as error:
            interrupt(error.signal_number)
            ended.result()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
