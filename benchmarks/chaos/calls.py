"""What the models of a run did, written down by themselves: one file per process, a line before and after each call.

Muster knows nothing of these files, so they also show work that was done and never used.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from muster.core import RequestKey


class CallLog:
    """Where one process notes its calls. Every line is in the file before the next thing happens."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(
            folder / f"{os.uname().nodename}-{os.getpid()}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY
        )

    def begins(self, keys: Sequence[RequestKey]) -> None:
        """These requests are being answered, together."""
        self._write({"begins": [str(key) for key in keys], "at": time.time()})

    def ends(self) -> None:
        """They are answered."""
        self._write({"ends": True, "at": time.time()})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Call:
    """Requests that one process answered together."""

    keys: tuple[str, ...]
    began: float
    """Unix seconds."""
    ended: float | None
    """None where the process never came so far."""


def read_calls(folder: Path) -> Iterator[Call]:
    """All calls of all processes that noted them in `folder`."""
    for file in folder.glob("*.jsonl"):
        open_call: Call | None = None
        for line in file.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # it is being written
            noted = json.loads(line)
            if "begins" in noted:
                if open_call is not None:
                    yield open_call
                open_call = Call(tuple(noted["begins"]), noted["at"], None)
            elif open_call is not None:
                yield Call(open_call.keys, open_call.began, noted["at"])
                open_call = None
        if open_call is not None:
            yield open_call


def answered(folder: Path) -> int:
    """Requests that were answered so far, counted as often as they were."""
    return sum(len(call.keys) for call in read_calls(folder) if call.ended is not None)


def seconds_redone(calls: Sequence[Call]) -> float:
    """Seconds of the models' work of which nothing came: answers beyond the first, and calls that never ended.

    A call that never ended counts as one of mean length. In a batch each request has an equal share.
    """
    spent: defaultdict[str, list[float]] = defaultdict(list)
    lengths = []
    for call in calls:
        if call.ended is not None:
            lengths.append(call.ended - call.began)
            for key in call.keys:
                spent[key].append(lengths[-1] / len(call.keys))
    unfinished = (len(calls) - len(lengths)) * (sum(lengths) / len(lengths) if lengths else 0.0)
    return unfinished + sum(sum(shares) - shares[0] for shares in spent.values())
