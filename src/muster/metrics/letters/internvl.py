"""InternVL's MMBench `post_process`: a first letter, else the first option whose text occurs."""

from __future__ import annotations

from collections.abc import Mapping


def post_process(text: str, options: Mapping[str, str]) -> str | None:
    """What InternVL submits: a letter, or the answer unchanged. None for a blank answer, where it crashes."""
    text = text.strip()
    if not text:
        return None
    if len(text) == 1:
        return text
    if text[0] in options:  # sic: "Cannot tell" is C
        return text[0]
    return next((letter for letter, option in options.items() if option in text), text)
