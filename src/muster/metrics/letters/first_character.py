"""SEED-Bench's answers: the first character is the letter (lmms-eval and InternVL)."""

from __future__ import annotations

from collections.abc import Mapping


def stripped_first(text: str, _options: Mapping[str, str] | None = None) -> str | None:
    """lmms-eval: the first character that is no blank, whatever it is; None for a blank answer."""
    return text.strip()[:1] or None


def raw_first(text: str, _options: Mapping[str, str] | None = None) -> str | None:
    """InternVL: the first character, also a blank; None for an empty answer, on which it crashes."""
    return text[:1] or None
