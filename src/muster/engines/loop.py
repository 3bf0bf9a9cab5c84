"""Running an engine's event loop from wherever Muster was called: a command, a thread, a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor


def run_to_end(main: Callable[[], Coroutine[object, None, None]], interrupt: Callable[[], None]) -> None:
    """Run `main()` to its end. Where this thread has a running loop already (a notebook), in another thread.

    `interrupt` is called when Ctrl-C arrives meanwhile; it must be safe to call from another thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(main())
        return
    with ThreadPoolExecutor(1, "muster-engine") as pool:
        ended = pool.submit(lambda: asyncio.run(main()))
        try:
            ended.result()
        except KeyboardInterrupt:
            interrupt()
            ended.result()
