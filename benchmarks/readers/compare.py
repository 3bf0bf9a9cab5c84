"""Compares Muster's scores with cases that `benchmarks.readers.reference` has written, with ==.

    python -m benchmarks.readers.compare cases.jsonl

Prints how many answers each scoring variant scores otherwise than its reference, and some of them; exits 1 if any.
"""

from __future__ import annotations

import json
import string
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.readers.answers import OPTIONS
from muster.core import Sample
from muster.metrics.protocol import UnscoredError
from muster.metrics.registry import build_metric

GUESS = "?"


class Difference(NamedTuple):
    """An answer that is scored otherwise. Both sides: the letters that would count, or `?` for a guess or a judge."""

    reader: str
    options: Sequence[str]
    text: str
    reference: str
    ours: str


def differences(lines: Sequence[str]) -> Iterator[Difference]:
    """The answers that differ; `lines` are the file's."""
    names = json.loads(lines[0])["readers"]
    for line in lines[1:]:
        which, text, counted = json.loads(line)
        for name, expected in zip(names, counted.split("|"), strict=True):
            ours = counted_by(name, which, text)
            if ours != expected:
                yield Difference(name, OPTIONS[which], text, expected, ours)


def counted_by(reader: str, which: int, text: str) -> str:
    """The letters that Muster counts, were they the right one; `?` where it has drawn one, or needs a judge."""
    name, _, variant = reader.partition("/")
    metric = build_metric(name, variant=variant)
    letters = string.ascii_uppercase[: len(OPTIONS[which])]
    right = ""
    for letter in letters:
        sample = Sample("validation_Art_1", "", choices=OPTIONS[which], answers=(letter,))
        try:
            scores = metric.score(sample, text).scores
        except UnscoredError:
            return GUESS
        if scores.get("guessed"):
            return GUESS
        right += letter if scores["accuracy"] == 1.0 else ""
    return right


def main() -> int:
    """Print the differences."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    found = list(differences(lines))
    for name in json.loads(lines[0])["readers"]:
        mine = [each for each in found if each.reader == name]
        print(f"{name}: {len(mine)} of {len(lines) - 1} answers differ")
        for each in mine[:4]:
            print(f"  {each.text!r} of {list(each.options)}: {each.reference!r} there, {each.ours!r} here")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
