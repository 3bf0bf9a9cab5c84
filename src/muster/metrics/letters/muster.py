"""Muster's own reader of multiple-choice answers: strict about what counts, robust to how it is wrapped.

It accepts, in this order: a letter alone; an option's text alone; "the answer is B" (the last such statement);
a labelled start ("B. dog", "(B) dog"); the one option whose text occurs; the one letter that is marked as a
letter. Whatever is ambiguous or negated is None: no answer, never a guess. "A cat" is not A, "Cannot" is not C.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

_AMBIGUOUS = ""
"""What a step returns that settles the matter without an answer; None passes it on to the next step."""

_LATIN = r"A-Za-z0-9\u00c0-\u024f"
_OPEN = r"[\s\"'“‘«(\[<（【「]*"
_CLOSE = rf"(?![{_LATIN}])(?!['’]\w)(?!\s*\?)"

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(r"\\boxed|\\text(?:bf|rm)?|\\math(?:bf|rm)?|</?[a-zA-Z]{1,12}>|[*_`$#{}\\\u200b\ufeff]")
_BLANKS = re.compile(r"\s+")
_ALONE = re.compile(
    r"(?:(?:the )?(?:final |correct )?(?:answer|option|choice|letter)\b)?\W*([a-z])\W*", re.IGNORECASE
)
_STATED = re.compile(
    r"(?:answer|option|choice|答案|选项|選項|正解|答え|정답|답)\s?"
    r"(?:is|are|should be|must be|would be|will be|:|=|是|为|為|は|은|는|\"\s?:)\s?"
    rf"(?:(?:clearly|clear|definitely|therefore|option|choice|letter)\s?:?\s?)*:?{_OPEN}([A-Za-z]){_CLOSE}",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"(?:\bI (?:would |will )?(?:choose|pick|select|go with)|\b(?:[Ii]t|[Tt]h(?:is|at))(?:['’]s| is)"
    rf"|\b[Oo]ption|\b[Cc]hoice|选|選)\s?(?:option\s)?{_OPEN}([A-Z]){_CLOSE}"
)
_IS_CORRECT = re.compile(rf"(?<![{_LATIN}])([A-Z])[)\]\"'”’.:]* is (?:the )?(?:correct|right|best|answer)\b")
_OR_ANOTHER = re.compile(rf"[)\]\"'”’]*\s?(?:or|and|/|,|&)\s?{_OPEN}([A-Z])(?![{_LATIN}])")
_LABEL = re.compile(
    r"[(\[（【\"'“]*([A-Za-z])(?!['’]\w)(?:\s?[)\]）】\"'”.:,;、。：．]+|\s?[-–—]\s|(?=\n))(\s?)(.*)",
    re.DOTALL,
)
_ENCLOSED = re.compile(r"[(\[（【\"“]\s?([A-Za-z])\s?[)\]）】\"”]|(?:^|\n)([A-Z])[.):：]")
_CAPITAL = re.compile(rf"(?<![{_LATIN}])([A-Z])(?![{_LATIN}])(?!['’\-]\w)")
_GOES_ON = re.compile(r" (?!(?:because|since|as|due|and|but|which|however|for|so|or|is|was)\b)\w")
_NEGATION = re.compile(
    r"\b(?:not|no|never|neither|nor|none|cannot|except|unlike|without)\b|n['’]t\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?;\n]")
_ALSO_WORDS = frozenset("AI")
_SHORT = 3
"""Words of an answer in which a bare capital letter is still taken for the choice."""


def read_choice(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that `text` chooses among `options`, or None. Without options, any letter may be chosen."""
    text = _clean(text)
    letters = "".join(options) or string.ascii_uppercase
    steps: tuple[Callable[[], str | None], ...] = (
        lambda: _alone(text, letters),
        lambda: _option_alone(text, options),
        lambda: _stated(text, letters),
        lambda: _labelled(text, letters, options),
        lambda: _option_within(text, letters, options),
        lambda: _marked(text, letters),
    )
    for step in steps:
        found = step()
        if found is not None:
            return found or None
    return None


def _clean(text: str) -> str:
    """Without reasoning tags and markup, full-width folded, every run of blanks one blank or newline."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if "<" in text:
        text = _THINKING.sub(" ", text)
    text = _MARKUP.sub("", text)
    if "\n" not in text:
        return " ".join(text.split())
    return _BLANKS.sub(lambda blanks: "\n" if "\n" in blanks.group() else " ", text).strip()


def _plain(text: str) -> str:
    """Casefolded, blanks collapsed, without punctuation around it: how option texts are compared."""
    collapsed = " ".join(_clean(text).casefold().split())
    return collapsed.strip(" \"'“”‘’.,;:!?。、，！？") or collapsed


@lru_cache(maxsize=4096)
def _plain_option(text: str) -> str:
    """The same for an option, which is compared several times and often comes again in the next question."""
    return _plain(text)


def _valid(letter: str, letters: str) -> bool:
    return letter.upper() in letters


def _alone(text: str, letters: str) -> str | None:
    match = _ALONE.fullmatch(text)
    if match is None:
        return _AMBIGUOUS if not text else None
    return match.group(1).upper() if _valid(match.group(1), letters) else _AMBIGUOUS


def _option_alone(text: str, options: Mapping[str, str]) -> str | None:
    equal = _options_equal_to(text, options)
    if not equal:
        return None
    return equal[0] if len(equal) == 1 else _AMBIGUOUS


def _options_equal_to(text: str, options: Mapping[str, str]) -> list[str]:
    plain = _plain(text)
    return [letter for letter, option in options.items() if _plain_option(option) == plain]


def _stated(text: str, letters: str) -> str | None:
    """The last statement of the answer wins; one that names two letters is ambiguous."""
    found = max(_statements(text, letters), default=None)
    return None if found is None else found[1]


def _statements(text: str, letters: str) -> Iterator[tuple[int, str]]:
    for pattern in (_STATED, _CHOSEN, _IS_CORRECT):
        for match in pattern.finditer(text):
            letter, end = match.group(1), match.end(1)
            if not _valid(letter, letters) or _negated(text, match.start()):
                continue
            if pattern is not _IS_CORRECT and _is_a_word(text, letter, end):
                continue
            another = _OR_ANOTHER.match(text, end)
            single = (
                another is None or another.group(1) == letter.upper() or not _valid(another.group(1), letters)
            )
            yield match.start(1), letter.upper() if single else _AMBIGUOUS


def _is_a_word(text: str, letter: str, end: int) -> bool:
    """Whether the letter before `end` is rather an article, a pronoun or the start of a phrase."""
    return (letter in _ALSO_WORDS or letter.islower()) and _GOES_ON.match(text, end) is not None


def _negated(text: str, position: int) -> bool:
    """Whether the two words before `position` deny what follows ("it is not option B"), in its sentence."""
    before = _SENTENCE_END.split(text[max(0, position - 40) : position])[-1]
    return _NEGATION.search(" ".join(before.split()[-2:])) is not None


def _labelled(text: str, letters: str, options: Mapping[str, str]) -> str | None:
    match = _LABEL.match(text)
    if match is None or not _valid(match.group(1), letters):
        return None
    letter, rest = match.group(1).upper(), match.group(3).strip()
    next_label = _LABEL.match(rest)
    if match.group(2) == "\n" and not (next_label and _valid(next_label.group(1), letters)):
        return letter  # a label on a line of its own, and then an explanation
    own = _plain_option(options.get(letter, ""))
    if own and re.match(re.escape(own) + r"(?!\w)", _plain(rest)):
        return letter
    named = _options_equal_to(rest, options)
    others = _marked_letters(rest, letters) - {letter}
    return _AMBIGUOUS if others or named else letter


def _option_within(text: str, letters: str, options: Mapping[str, str]) -> str | None:
    """The only option whose text occurs as words; an option inside a longer one that occurs doesn't count."""
    by_text: dict[str, list[str]] = {}
    for letter, option in options.items():
        by_text.setdefault(_plain_option(option), []).append(letter)
    alternatives = "|".join(re.escape(option) for option in sorted(by_text, key=len, reverse=True) if option)
    if not alternatives:
        return None
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
    found = {match.group().casefold() for match in pattern.finditer(text)}
    chosen = by_text.get(next(iter(found)), []) if len(found) == 1 else []
    if len(chosen) != 1:
        return _AMBIGUOUS if found else None
    around = pattern.sub("it", text)  # a word, so that the A of "A dog" stays an article
    contradicted = _NEGATION.search(around) or _marked_letters(around, letters) - set(chosen)
    return _AMBIGUOUS if contradicted else chosen[0]


def _marked(text: str, letters: str) -> str | None:
    marked = _marked_letters(text, letters)
    if len(marked) != 1 or _NEGATION.search(text):
        return None
    enclosed = _ENCLOSED.search(text) is not None
    return next(iter(marked)) if enclosed or len(text.split()) <= _SHORT else None


def _marked_letters(text: str, letters: str) -> set[str]:
    """Letters that stand as letters: enclosed, labelling a line, or a capital by itself."""
    marked = {match.group(1) or match.group(2) for match in _ENCLOSED.finditer(text)}
    marked |= {
        match.group(1)
        for match in _CAPITAL.finditer(text)
        if not _is_a_word(text, match.group(1), match.end(1))
    }
    return {letter.upper() for letter in marked if _valid(letter, letters)}
