"""Reads the choice out of sentences: which option they settle on, when they weigh several."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from muster.metrics.letters import cues
from muster.metrics.letters.mentions import Mention, OptionFinder


class _Sentence(NamedTuple):
    text: str
    affirmed: frozenset[str]
    named: frozenset[str]
    """Those of them that are more than a bare letter."""
    concludes: bool
    decides: bool
    contrasts: bool
    refuses: bool
    whole: bool
    """It is nothing but one option."""
    names_all: bool
    """It names options, and says that they are alike."""


def read_prose(text: str, finder: OptionFinder) -> str | None:
    """The letter that the sentences of `text` settle on; None where they settle on none, or on several."""
    sentences = list(_sentences(text, finder))
    refused = max((number for number, each in enumerate(sentences) if each.refuses), default=-1)
    concluding = [
        each
        for number, each in enumerate(sentences)
        if (each.concludes and not each.refuses and (each.decides or number > refused))
        or (each.whole and not any(other.whole for other in sentences[max(0, number - 1) : number + 2 : 2]))
    ]
    for each in reversed(concluding):
        if each.affirmed or each.names_all:
            return _only(each.affirmed)
    if refused >= 0:
        return None
    if sentences and _answers_first(sentences) and len(sentences[0].affirmed) == 1:
        return _only(sentences[0].affirmed)
    for each in reversed(sentences):
        if each.decides and not each.contrasts and len(each.affirmed) == 1:
            return _only(each.affirmed)
    return _only(frozenset[str]().union(*(each.named for each in sentences if not each.contrasts)))


def _answers_first(sentences: list[_Sentence]) -> bool:
    first = sentences[0]
    justified = len(sentences) > 1 and cues.JUSTIFIES.match(sentences[1].text) is not None
    return first.decides or justified or cues.BECAUSE.search(first.text) is not None


def _is_all(sentence: str, finder: OptionFinder) -> bool:
    rest = finder.find(sentence)
    return len(rest) == 1 and not re.search(r"\w", sentence[: rest[0].start] + sentence[rest[0].end :])


def _only(letters: frozenset[str]) -> str | None:
    return next(iter(letters)) if len(letters) == 1 else None


def _sentences(text: str, finder: OptionFinder) -> Iterator[_Sentence]:
    parts = [part for part in cues.SENTENCE_ENDS.split(text) if part.strip()]
    joined: list[str] = []
    for part in parts:  # "the match is:" goes on in the next line
        if joined and joined[-1].rstrip().endswith(":") and len(joined[-1]) < 400:
            joined[-1] = f"{joined[-1]} {part}"
        else:
            joined.append(part)
    for part in joined:
        mentions = _affirmed(part, finder)
        yield _Sentence(
            part,
            affirmed=frozenset(mention.letter for mention in mentions),
            named=frozenset(mention.letter for mention in mentions if not mention.bare),
            concludes=cues.CONCLUDES.search(part) is not None,
            decides=cues.DECIDES.search(part) is not None,
            contrasts=cues.CONTRASTS.search(part) is not None,
            refuses=cues.REFUSES.search(part) is not None and cues.STILL.search(part) is None,
            whole=len(mentions) == 1 and not mentions[0].bare and _is_all(part, finder),
            names_all=not mentions and cues.EITHER.search(part) is not None and len(finder.find(part)) > 1,
        )


def _affirmed(sentence: str, finder: OptionFinder) -> list[Mention]:
    """The mentions of the sentence's main clause, unless it denies them; what follows a colon says it best."""
    before, colon, after = sentence.rpartition(":")
    if colon and (found := _affirmed_of(after, finder)) and not cues.NOT.search(before[-40:]):
        return found
    return _affirmed_of(sentence, finder)


def _affirmed_of(sentence: str, finder: OptionFinder) -> list[Mention]:
    sentence = cues.ASIDE.sub(" ", sentence)
    if reason := cues.REASONS.match(sentence):
        found = _main_clause(sentence, reason.end(), finder)
        if found and not any(mention.bare for mention in found):
            return found
    yielding = cues.YIELDS.match(sentence)
    return _main_clause(sentence, yielding.end() if yielding else 0, finder)


def _main_clause(sentence: str, start: int, finder: OptionFinder) -> list[Mention]:
    """What the first clause from `start` on affirms that names an option."""
    for turn in (*cues.TURNS.finditer(sentence, start), None):
        clause = sentence[start : turn.start() if turn else len(sentence)]
        mentions = finder.find(clause)
        denied = mentions and (cues.DENIES.search(clause) or cues.EITHER.search(clause))
        if mentions and not denied:
            return mentions
        if denied and (turn is None or turn.group().strip(" ,;").lower() not in cues.BUTS):
            return []
        start = turn.end() if turn else start
    return []
