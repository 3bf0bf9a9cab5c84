"""Where media stand in a prompt: `<image>` and `<video>` markers, numbered (`<image 2>`) or in order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from muster.core import ConfigurationError, Media, MediaKind, Part, Sample

MARKER = re.compile(r"<(image|video)(?: (\d{1,4}))?>")
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"  # Unicode keeps these out of texts: programs' own use
_BREAK = "\ufdd2"
_TOKEN = re.compile(rf"<(image|video)(?: (\d{{1,4}}))?>|{_OPEN}(image|video)(?: (\d{{1,4}}))?{_CLOSE}")


class _Token(NamedTuple):
    """A marker in the rendered text."""

    start: int
    end: int
    kind: MediaKind
    number: int | None
    """From 1, as written; None where the marker has none."""
    own: bool
    """Whether the template itself says so, rather than the sample's text."""

    @property
    def text(self) -> str:
        return f"<{self.kind}>" if self.number is None else f"<{self.kind} {self.number}>"


def protect(template_text: str) -> str:
    """Mark the template's own markers, so that they can be told from those in a sample's text."""
    return MARKER.sub(lambda match: f"{_OPEN}{match[0][1:-1]}{_CLOSE}", template_text)


def place_media(texts: Sequence[str], sample: Sample) -> list[tuple[Part, ...]]:
    """The rendered `texts` of messages as parts, media where their markers are, trailing whitespace gone.

    The templates' own markers must fit the sample's media exactly. Markers in the sample's own text place the
    media where they fit, and are text where they don't. Media without markers come first in the last message, images
    before videos.

    Raises:
        ConfigurationError: the templates' markers don't fit the sample's media.
    """
    whole = _BREAK.join(texts)
    tokens = []
    if "<" in whole or _OPEN in whole:
        tokens = [_token(match) for match in _TOKEN.finditer(whole)]
    if not tokens:  # nearly all prompts
        media = (*sample.images, *sample.videos)
        return [_parts(text, (), {}, ()) for text in texts[:-1]] + [_parts(texts[-1], (), {}, media)]
    placed: dict[int, Media] = {}
    front: list[Media] = []
    kinds: tuple[tuple[MediaKind, tuple[Media, ...]], ...] = (
        ("image", sample.images),
        ("video", sample.videos),
    )
    for kind, media in kinds:
        at = _positions([token for token in tokens if token.kind == kind], len(media), sample, kind)
        placed.update({start: media[index] for start, index in at.items()})
        if not at:
            front.extend(media)
    messages: list[tuple[Part, ...]] = []
    start = 0
    for number, text in enumerate(texts, 1):
        own = [
            token._replace(start=token.start - start, end=token.end - start)
            for token in tokens
            if start <= token.start < start + len(text)
        ]
        here = {token.start: placed[token.start + start] for token in own if token.start + start in placed}
        messages.append(_parts(text, own, here, front if number == len(texts) else ()))
        start += len(text) + len(_BREAK)
    return messages


def _token(match: re.Match[str]) -> _Token:
    own = match[3] is not None
    kind: MediaKind = "image" if (match[3] or match[1]) == "image" else "video"
    number = match[4] or match[2]
    return _Token(match.start(), match.end(), kind, int(number) if number else None, own)


def _positions(tokens: Sequence[_Token], count: int, sample: Sample, kind: MediaKind) -> dict[int, int]:
    """Offset of a marker to index of its media; empty where the media have no place of their own."""
    own = [token for token in tokens if token.own]
    if not own:
        return _fit(tokens, count) or {}
    fit = _fit(own, count)
    if fit is None:
        markers = ", ".join(token.text for token in own)
        raise ConfigurationError(
            f"sample {sample.id!r}: the prompt's template has {len(own)} {kind} marker(s) ({markers}), but the sample "
            f"has {count} {kind}(s). Give the template one marker per {kind}, or none to put the {kind}s first."
        )
    return fit


def _fit(tokens: Sequence[_Token], count: int) -> dict[int, int] | None:
    """Offset to index where the markers name each of `count` media, else None.

    A number that comes again refers to what is already placed: it stays text.
    """
    numbers = [token.number for token in tokens]
    if all(number is None for number in numbers):
        return {token.start: i for i, token in enumerate(tokens)} if len(tokens) == count else None
    if set(numbers) != set(range(1, count + 1)):
        return None
    first: dict[int, int] = {}
    for token in tokens:
        if token.number is not None and token.number - 1 not in first.values():
            first[token.start] = token.number - 1
    return first


def _parts(
    text: str, tokens: Sequence[_Token], placed: dict[int, Media], front: Sequence[Media]
) -> tuple[Part, ...]:
    parts = [Part(media=media) for media in front]
    pending, position = "", 0
    for token in tokens:
        pending += text[position : token.start]
        position = token.end
        media = placed.get(token.start)
        if media is None:
            pending += token.text
            continue
        if pending:
            parts.append(Part(text=pending))
        parts.append(Part(media=media))
        pending = ""
    pending = (pending + text[position:]).rstrip()
    if pending:
        parts.append(Part(text=pending))
    return tuple(parts)
