"""Which parameters of a request a server takes. Those that it refuses are left out from then on, and it is said."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence

from muster.core import JSON

log = logging.getLogger(__name__)

LIMITS = ("max_tokens", "max_completion_tokens")
"""One thing under two names: a server that refuses the one takes the other."""
_CANONICAL = {
    **{name: name for name in ("temperature", "top_p", "top_k", "seed", "stop", "stop_sequences", *LIMITS)},
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop_sequences",
}
_NAMED = re.compile(rf"(?<![\w.])({'|'.join(sorted(_CANONICAL, key=len, reverse=True))})(?!\w)")
_WORDS = frozenset({"stop", "seed"})
"""Names that are also words of the language: meant only between marks, `'stop'`, or before a colon."""
_REFUSED = re.compile(
    r"not (?:be )?supported|unsupported|(?:n[o']t|cannot) support|not permitted|not allowed|not accepted|extra[ _]|"
    r"unknown|unrecogni[sz]ed|unexpected|deprecated|no longer|cannot both|only the default|may only be|"
    r"not a valid|not available|incompatible|does(?:n't| not) accept",
    re.IGNORECASE,
)
_GREEDY_REFUSED = re.compile(r"must be|strictly positive|greater than|positive", re.IGNORECASE)
"""Of a temperature of 0: text-generation-inference wants none then."""
_NO_MATTER = frozenset({*LIMITS, "stop", "stop_sequences"})
"""What has its effect even where the server refuses it: under another name, or because answers are cut here."""
_EFFECTS = {
    "temperature": "; the server samples as it likes, and another run may give other answers",
    "stop": "; answers are cut off here",
    "stop_sequences": "; answers are cut off here",
    "seed": "; another run may give other answers",
}


def refused_parameter(words: str, named: str = "") -> str | None:
    """The parameter that a server's words (of a 400 or 422) refuse; None where they are about something else.

    `named`: what the server itself says which parameter it is.
    """
    found = [
        match[1]
        for match in _NAMED.finditer(words)
        if match[1] not in _WORDS or _marked(words, match.start(), match.end())
    ]
    if named in _CANONICAL:
        found.insert(0, named)
    if not found:
        return None
    greedy = found[0] == "temperature" and _GREEDY_REFUSED.search(words)
    if not greedy and not _REFUSED.search(words):
        return None
    # "`temperature` and `top_p` cannot both be specified": the first one stays.
    return _CANONICAL[found[-1] if re.search(r"\bboth\b", words) else found[0]]


def _marked(words: str, start: int, end: int) -> bool:
    return words[start - 1 : start] in tuple("'\"`[(/") or words[end : end + 1] == ":"


class Parameters:
    """What one backend has learned. Read from several threads."""

    def __init__(self, given: Collection[str] = (), untaken: Collection[str] = ()) -> None:
        """`given`: what the user has set by `extra_body`, which is never left out. `untaken`: known to be refused."""
        self._given = frozenset(given)
        self._untaken = frozenset(untaken)
        self._refused = set(untaken)
        self.takes_stops = False
        """A request with stop strings was answered."""

    def kept(self, content: Mapping[str, JSON]) -> dict[str, JSON]:
        """A body without what is refused, before `extra_body` is merged into it."""
        kept: dict[str, JSON] = {}
        for name, value in content.items():
            if name not in self._refused:
                kept[name] = value
            elif name in LIMITS:
                kept[_other(name)] = value
        return kept

    def left_out(self, content: Mapping[str, JSON]) -> str | None:
        """What of `content` had no effect, for a sample's note. Stop strings and the limit have one all the same.

        Of a temperature of 0, which is what nobody asked for, only what wasn't known from the start is worth a note.
        """
        refused = self._refused - self._given - _NO_MATTER
        settings = ", ".join(
            f"{name}={value}"
            for name, value in content.items()
            if name in refused and (value != 0 or name not in self._untaken)
        )
        return f"{settings} had no effect: the server doesn't take it" if settings else None

    def without(self, body: Mapping[str, JSON], name: str) -> dict[str, JSON] | None:
        """A body without a parameter, or with the other name of the limit; None where that can't be."""
        name = "stop_sequences" if name == "stop" and "stop_sequences" in body else name
        if name in self._given or name not in body:
            return None
        if name not in LIMITS:
            return {key: value for key, value in body.items() if key != name}
        if _other(name) in self._refused or _other(name) in body:
            return None
        return {_other(name) if key == name else key: value for key, value in body.items()}

    def refuse(self, name: str, words: str) -> None:
        """Leave it out from now on; told once. `words`: who refused it, and how."""
        if name in self._refused:
            return
        self._refused.add(name)
        what = f"sent as {_other(name)} from now on" if name in LIMITS else "left out from now on"
        log.warning("%s is %s%s (%s)", name, what, _EFFECTS.get(name, ""), words)


def no_effect(names: Sequence[str]) -> str | None:
    """The note for parameters that a server refused after it had got them."""
    told = ", ".join(name for name in names if name not in _NO_MATTER)
    return f"{told} had no effect: the server doesn't take it" if told else None


def _other(limit: str) -> str:
    return LIMITS[1 - LIMITS.index(limit)]
