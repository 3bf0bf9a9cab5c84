"""InternVL's `post_process` of multiple choice: a first letter, else the first option whose text occurs."""

from __future__ import annotations

from collections.abc import Mapping


def post_process(text: str, options: Mapping[str, str]) -> str | None:
    """MMBench, MMMU: a letter, or the answer unchanged. None for a blank answer, on which it crashes."""
    text = text.strip()
    return (_found(text, options) or text) if text else None


def post_process_scienceqa(text: str, options: Mapping[str, str]) -> str | None:
    """ScienceQA: where nothing is found also `X.` and `(X)`. None for two characters from `(` on, where it crashes."""
    text = text.strip()
    found = _found(text, options)
    if found is not None:
        return found
    if text[1:2] == ".":
        return text[0]
    if len(text) == 2 and text[0] == "(":
        return None
    return text[1] if text[:1] == "(" and text[2:3] == ")" else text


def _found(text: str, options: Mapping[str, str]) -> str | None:
    if len(text) == 1:
        return text
    if text[:1] in options:  # sic: "Cannot tell" is C
        return text[0]
    return next((letter for letter, option in options.items() if option in text), None) if text else None
