"""Levenshtein distance with unit costs."""

from __future__ import annotations


def levenshtein(first: str, second: str) -> int:
    """Fewest insertions, deletions and substitutions of characters that turn one text into the other."""
    if len(first) > len(second):
        first, second = second, first
    above = list(range(len(first) + 1))
    for row, target in enumerate(second, start=1):
        current = [row]
        for column, source in enumerate(first, start=1):
            if source == target:
                current.append(above[column - 1])
            else:
                current.append(1 + min(above[column - 1], above[column], current[-1]))
        above = current
    return above[-1]
