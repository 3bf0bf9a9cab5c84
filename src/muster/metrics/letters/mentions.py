"""Where a sentence mentions options: by letter, by text, or by both at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from muster.metrics.letters.statements import LATIN

_NOUNS = "answer|option|choice|letter|point|box|image|picture|figure|photo|object|region|label|item|statement|candidate"
_LETTER = (
    r"[(\[]\s?(?P<enclosed>[A-Za-z])\s?[)\]]"
    rf"|\b(?i:{_NOUNS})s?\s[\"'“‘]?(?P<named>[A-Z])(?![{LATIN}'’])(?!-\w)"
    rf"|(?<![{LATIN}'’.\-])(?P<bare>[B-HJ-Z])(?![{LATIN}])(?!['’\-]\w)"
    rf"|(?<![{LATIN}'’.\-])(?P<article>[AI])(?=[,;:.)]|\s(?:is|has|was|and|or|but|nor|than|rather|appears|seems|looks|shows|because|as|since|does)\b|$)(?!\.[A-Z])"
)
_ARTICLE = re.compile(r"^(?:the\s|an?\s(?!(?:is|was|has|and|or)\b))", re.IGNORECASE)
_JOINED = re.compile(r"[\s,:;.)\-–—=(\[\"'“”]*(?:(?:is|which is|i\.e\.)\s)?(?:the\s|an?\s)?", re.IGNORECASE)
_LABELS = re.compile(r"\s?[.:)-]?\s")
_LONGEST_GAP = 16


@dataclass(frozen=True, slots=True)
class Mention:
    """One place that means an option."""

    letter: str
    start: int
    end: int
    bare: bool
    """By a letter that stands by itself, which may mean something else."""


class OptionFinder:
    """Finds mentions of one question's options in texts. Linear in a text's length."""

    def __init__(self, letters: str, options: tuple[tuple[str, str], ...]) -> None:
        """`options`: letters and texts, plain as `plain_option` makes them."""
        self._letters = letters
        self._by_text: dict[str, str] = {}
        ambiguous: set[str] = set()
        for letter, text in options:
            core = _ARTICLE.sub("", text)
            if len(core) == 1 and core.isascii() and core.isalpha():
                continue  # a letter is read as a letter
            if core and self._by_text.setdefault(core, letter) != letter:
                ambiguous.add(core)
        for core in ambiguous:
            del self._by_text[core]
        texts = sorted(self._by_text, key=len, reverse=True)
        alternatives = "|".join(map(re.escape, texts))
        by_text = rf"(?<![{LATIN}])(?P<text>(?i:{alternatives}))(?![{LATIN}])|" if alternatives else ""
        self._pattern = re.compile(by_text + _LETTER)

    def find(self, sentence: str) -> list[Mention]:
        """The mentions in `sentence`, in order; a letter and its own text beside each other are one."""
        merged: list[Mention] = []
        for mention in self._all(sentence):
            last = merged[-1] if merged else None
            if (
                last is not None
                and not self._by_text
                and _LABELS.fullmatch(sentence[last.end : mention.start])
            ):
                continue  # "(D) Point S": what D says, where the options aren't known
            if (
                last is not None
                and last.letter == mention.letter
                and mention.start - last.end <= _LONGEST_GAP
            ):
                gap = sentence[last.end : mention.start]
                if _JOINED.fullmatch(gap):
                    merged[-1] = Mention(last.letter, last.start, mention.end, bare=False)
                    continue
            merged.append(mention)
        return merged

    def _all(self, sentence: str) -> Iterator[Mention]:
        for found in self._pattern.finditer(sentence):
            kind = found.lastgroup or ""
            text = found.group(kind)
            letter = self._by_text.get(text.casefold(), "") if kind == "text" else text.upper()
            if letter and letter in self._letters:
                yield Mention(letter, found.start(), found.end(), bare=kind in ("bare", "article"))


@lru_cache(maxsize=1024)
def _finder(letters: str, options: tuple[tuple[str, str], ...]) -> OptionFinder:
    return OptionFinder(letters, options)


def option_finder(letters: str, plain_options: Mapping[str, str]) -> OptionFinder:
    """The finder for a question, of which the latest are kept."""
    return _finder(letters, tuple(plain_options.items()))
