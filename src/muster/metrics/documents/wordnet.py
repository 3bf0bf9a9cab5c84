"""Synonyms of WordNet, for METEOR: the dictionary's own files, looked up as NLTK 3.10 looks them up.

A word's synonyms are the words of all synsets of its base forms, in every part of speech. Only files are read, and
those once per process: nothing is downloaded.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError

_VARIABLE = "WNSEARCHDIR"
"""The environment variable by which WordNet's own programs find the dictionary."""
_DEBIAN = Path("/usr/share/wordnet")
_ENDINGS: Mapping[str, Sequence[tuple[str, str]]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""By part of speech: what a form may end in, and its base form in place of that (`morphy`, without repetition)."""


class Lemma(NamedTuple):
    """A word of a synset, as METEOR in NLTK asks for it."""

    text: str

    def name(self) -> str:
        """With underscores for blanks."""
        return self.text


class Synset(NamedTuple):
    """Words with one meaning."""

    words: tuple[Lemma, ...]

    def lemmas(self) -> tuple[Lemma, ...]:
        """Its words."""
        return self.words


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of speech."""

    index: Mapping[str, Sequence[int]]
    data: bytes
    exceptions: Mapping[str, Sequence[str]]
    endings: Sequence[tuple[str, str]]

    def synsets(self, word: str) -> Iterator[Synset]:
        for form in self._base_forms(word):
            for offset in self.index[form]:
                yield _synset_at(self.data, offset)

    def _base_forms(self, word: str) -> list[str]:
        irregular = self.exceptions.get(word)
        if irregular is None:
            irregular = [word[: -len(old)] + new for old, new in self.endings if word.endswith(old)]
        return [form for form in dict.fromkeys((word, *irregular)) if form in self.index]


class WordNet:
    """The dictionary; `read` gives the content of one of its files by name."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._parts = [
            _Part(
                dict(_index_lines(read(f"index.{part}").decode("utf-8"))),
                read(f"data.{part}"),
                {form: bases for form, *bases in map(str.split, read(f"{part}.exc").decode().splitlines())},
                endings,
            )
            for part, endings in _ENDINGS.items()
        ]

    def synsets(self, word: str) -> list[Synset]:
        """Nouns first, then verbs, adjectives and adverbs; none for a word that the dictionary doesn't have."""
        return [synset for part in self._parts for synset in part.synsets(word.lower())]


def _index_lines(text: str) -> Iterator[tuple[str, list[int]]]:
    for line in text.splitlines():
        if line.startswith(" "):  # the licence
            continue
        word, _, count, *rest = line.split()
        yield word, [int(offset) for offset in rest[len(rest) - int(count) :]]


def _synset_at(data: bytes, offset: int) -> Synset:
    fields = data[offset : data.index(b"|", offset)].decode("utf-8").split()
    words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return Synset(tuple(Lemma(word.split("(", 1)[0]) for word in words))


@cache
def wordnet() -> WordNet:
    """The dictionary that is installed here, 3.0 in NLTK's data and in Debian.

    Raises `ConfigurationError` where there is none.
    """
    found = _place()
    if found is None:
        raise ConfigurationError(
            "METEOR needs WordNet, whose files aren't here: python -m nltk.downloader wordnet (NLTK_DATA says where "
            f"to), or Debian's package wordnet-base, or {_VARIABLE}, the folder that has index.noun and data.noun."
        )
    if found.suffix == ".zip":
        with zipfile.ZipFile(found) as archive:
            return WordNet(lambda name: archive.read(f"wordnet/{name}"))
    return WordNet(lambda name: (found / name).read_bytes())


def _place() -> Path | None:
    from nltk.data import path

    named = os.environ.get(_VARIABLE)
    folders = [Path(named)] if named else []
    folders += [Path(each, "corpora", "wordnet") for each in path]
    for folder in (*folders, _DEBIAN):
        if (folder / "data.noun").is_file():
            return folder
        if (archive := folder.with_suffix(".zip")).is_file():
            return archive
    return None
