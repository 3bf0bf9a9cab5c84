"""How many entries a pickled dictionary has, by its operations alone: nothing in it is loaded."""

from __future__ import annotations

import pickletools
from pathlib import Path


def entries(path: Path) -> int:
    """Of the outermost dictionary, whatever its keys and values are made of; 0 while it is being written.

    Of each operation only what it takes off the stack and puts there is followed, as `pickletools` says it. Counting
    numbers would not do: keys that are numpy's are written as calls, with numbers of their own in the first.
    """
    count = 0
    stack: list[object] = []
    try:
        for code, _, _ in pickletools.genops(path.read_bytes()):
            if pickletools.markobject in code.stack_before:
                mark = max(place for place, each in enumerate(stack) if each is pickletools.markobject)
                items = len(stack) - mark - 1
                left = mark - code.stack_before.index(pickletools.markobject)
            else:
                items = len(code.stack_before) - 1
                left = len(stack) - len(code.stack_before)
            if code.name in ("SETITEM", "SETITEMS") and left == 0:
                count += items // 2
            stack[left:] = code.stack_after
    except (OSError, ValueError):
        return 0
    return count
