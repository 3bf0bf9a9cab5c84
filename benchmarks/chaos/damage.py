"""What a power failure or a bad disk does to a file of lines."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Literal

Damage = Literal["cut off", "zeroes", "garbage at the end", "garbage inside", "a line break lost"]


def damage(path: Path, random: Random, how: Damage | None = None) -> None:
    """Damage everything but the first line; at random where not told how."""
    content = bytearray(path.read_bytes())
    first = content.find(b"\n") + 1
    kinds: tuple[Damage, ...] = (
        "cut off",
        "zeroes",
        "garbage at the end",
        "garbage inside",
        "a line break lost",
    )
    how = how or random.choice(kinds)
    if len(content) <= first:
        return
    place = random.randrange(first, len(content))
    match how:
        case "cut off":  # the file's length was not yet on the disk
            del content[max(first, len(content) - random.randint(1, 600)) :]
        case "zeroes":  # the length was, the content not
            size = min(random.randint(1, 4096), len(content) - first)
            content[-size:] = bytes(size)
        case "garbage at the end":
            content += random.randbytes(random.randint(1, 300))
        case "garbage inside":
            size = min(random.randint(1, 400), len(content) - place)
            content[place : place + size] = random.randbytes(size)
        case "a line break lost":
            at = content.find(b"\n", place)
            if at >= 0:
                del content[at]
    path.write_bytes(content)
