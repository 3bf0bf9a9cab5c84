"""Answers that a dataset writes as a Python list: `['a', 'b']`."""

from __future__ import annotations

import ast


def listed_answers(answer: str) -> list[str]:
    """The elements of an answer that is written as a list, as strings, read without `eval`; else the answer itself."""
    if not answer.lstrip().startswith("["):
        return [answer]
    try:
        value: object = ast.literal_eval(answer.lstrip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return [answer]
    return [str(item) for item in value] if isinstance(value, list) else [answer]
