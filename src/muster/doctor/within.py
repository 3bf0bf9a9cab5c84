"""A limit for calls that have none: a dead network file system, a driver that doesn't answer, a stuck collective."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, what: str, call: Callable[[], T]) -> T:
    """What `call` returns or raises. It runs in a thread, which is left behind when it takes too long.

    Raises:
        TimeoutError: no answer within `seconds`; names `what`.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001  handed to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name=f"muster-doctor-{what}", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"{what} gave no answer within {seconds:g} s")
    return results[0]
