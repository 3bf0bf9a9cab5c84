"""While one of Muster's own processes starts, garbage is looked for seldom: imports make a million objects to keep.

Python looks through all of them again and again, which is a fifth of what importing torch and transformers takes. A
process that belongs to somebody else (`muster.evaluate`) is left as it is.
"""

from __future__ import annotations

import gc

_SELDOM = (1_000_000, 50, 50)
"""Loading a model leaves 600,000 objects."""
_usual: list[tuple[int, int, int]] = []


def begin() -> None:
    """For the first lines of a process of Muster's own."""
    if not _usual:
        _usual.append(gc.get_threshold())
        gc.set_threshold(*_SELDOM)


def done() -> None:
    """Everything is loaded. Without `begin`, no effect.

    What there is counts as old, so that it isn't looked through at once. Nothing is exempted for good: a model, with
    the processes that end with it, is part of cycles.
    """
    if _usual:
        gc.freeze()
        gc.unfreeze()
        gc.set_threshold(*_usual.pop())
