"""Subtitles: what was said when, from SRT and LongVideoBench's JSON, and which of it belongs to some frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from muster.core import SampleError

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_CUE = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}.*$")
_TAG = re.compile(r"</?(?:font|b|i|u|c)\b[^<>]*>|\{\\[^{}]*\}", re.IGNORECASE)
SHORTEST = 1.0
"""Seconds that a subtitle counts for at least, around its middle, when it is laid between frames."""


class Cue(NamedTuple):
    """One subtitle."""

    start: float
    """Seconds."""
    end: float
    """Infinite where the file doesn't say."""
    text: str


@lru_cache(maxsize=8)
def load_subtitles(path: str) -> tuple[Cue, ...]:
    """The subtitles of an `.srt` (or `.vtt`) or `.json` file, in its order; none where there is no such file.

    Benchmarks have no file for videos in which nobody speaks. Raises `SampleError` for a file that can't be read, and
    for one that is something else (a Git LFS pointer, UTF-16): that somebody speaks would go unnoticed.
    """
    file = Path(path)
    try:
        content = file.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise SampleError(f"the subtitles {path} can't be read: {error.strerror or error}") from error
    if file.suffix.lower() == ".json":
        return parse_json(content, path)
    text = content.strip()
    if text and "-->" not in text and not text.startswith("WEBVTT"):
        raise SampleError(f"{path}: not SRT or WebVTT subtitles in UTF-8: there is no line with a `-->`")
    return parse_srt(content)


def parse_srt(content: str) -> tuple[Cue, ...]:
    """Cues of an SRT or WebVTT text, without formatting. Lines that belong to no cue are left out."""
    cues: list[Cue] = []
    open_cue: tuple[float, float] | None = None
    lines: list[str] = []

    def finish() -> None:
        text = " ".join(_TAG.sub("", line).strip() for line in lines).strip()
        if open_cue is not None and text:
            cues.append(Cue(*open_cue, text))

    for line in content.splitlines():
        if match := _CUE.match(line):
            if lines and lines[-1].strip().isdigit() and open_cue is not None:
                lines.pop()  # the number of this cue, where no empty line parts it from the one before
            finish()
            open_cue, lines = (_seconds(*match.groups()[:4]), _seconds(*match.groups()[4:])), []
        elif not line.strip():
            finish()
            open_cue, lines = None, []
        else:
            lines.append(line)
    finish()
    return tuple(cues)


def parse_json(content: str, name: str = "the subtitles") -> tuple[Cue, ...]:
    """LongVideoBench's two forms: `{"start": "00:00:01.000", "end": …, "line": …}` and `{"timestamp": [1.0, 2.0],
    "text": …}`. Raises `SampleError` for another.
    """
    try:
        entries = msgspec.json.decode(content, type=list[_Entry])
        return tuple(entry.cue() for entry in entries)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SampleError(f"{name}: not subtitles as LongVideoBench has them: {error}") from error


class _Entry(msgspec.Struct):
    start: str | None = None
    end: str | None = None
    line: str | None = None
    timestamp: tuple[float | None, float | None] | None = None
    text: str | None = None

    def cue(self) -> Cue:
        if self.timestamp is not None:
            begin, end = self.timestamp
            return Cue(begin or 0.0, float("inf") if end is None else end, self.text or "")
        if self.start is None or self.end is None:
            raise ValueError("an entry has neither `timestamp` nor `start` and `end`")
        return Cue(_clock(self.start), _clock(self.end), self.line or "")


def spoken_at(cues: Sequence[Cue], frames: Sequence[int], fps: float) -> list[Cue]:
    """The cues during which one of the frames is seen, once each and in their order (lmms-eval's Video-MME)."""
    return [
        cue
        for cue in cues
        if any(_frame(cue.start, fps) <= frame and frame < _frame(cue.end, fps) for frame in frames)
    ]


def interleaved(cues: Sequence[Cue], seconds: Sequence[float], duration: float) -> list[int | str]:
    """Frames (by their place in `seconds`) and what is said, in the order of LongVideoBench's loader.

    A subtitle stands after the frames seen until its middle, and only where a frame is seen while it is spoken.
    """
    sequence: list[int | str] = []
    shown = 0
    for cue in cues:
        start, end = cue.start, min(cue.end, duration) if cue.end == float("inf") else cue.end
        middle = (start + end) / 2
        while shown < len(seconds) and seconds[shown] <= middle:
            sequence.append(shown)
            shown += 1
        if end - start < SHORTEST:
            start, end = middle - SHORTEST / 2, middle + SHORTEST / 2
        if any(start < second < end for second in seconds):
            sequence.append(cue.text)
    return [*sequence, *range(shown, len(seconds))]


def _frame(second: float, fps: float) -> float:
    return second if second == float("inf") else int(second * fps)


def _seconds(hours: str | None, minutes: str, seconds: str, thousandths: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(thousandths.ljust(3, "0")) / 1000


def _clock(text: str) -> float:
    hours, minutes, seconds = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
