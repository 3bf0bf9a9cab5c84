"""Muster's own reader of multiple-choice answers: strict about what counts, robust to how it is wrapped.

It accepts, in this order: a letter alone; an option's text alone; a boxed or tagged answer; what follows a correction
("No wait, C"); "the answer is B" (the last such statement); a labelled start ("B. dog", "(B) dog"); what whole
sentences settle on (`prose`); the one option whose text occurs; the one letter that is marked as a letter. Whatever is
ambiguous or negated is None: no answer, never a guess. "A cat" is not A, "Cannot" is not C.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import deque
from collections.abc import Mapping
from functools import cached_property, lru_cache

from muster.metrics.letters.mentions import option_finder
from muster.metrics.letters.prose import read_prose
from muster.metrics.letters.statements import LATIN, NEGATION, is_a_word, last_statement

_AMBIGUOUS = ""
"""What a step returns that settles the matter without an answer; None passes it on to the next step."""

_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|$)", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(
    r"\\boxed|\\text(?:bf|rm|it)?|\\math(?:bf|rm|it)?|\\[,;!]|<\|[a-z_]{1,20}\|>|</?[a-zA-Z]{1,12}>|[*_`$#{}\\\u200b\ufeff]"
)
_BLANKS = re.compile(r"\s+")
_ALONE = re.compile(
    r"(?:(?:the )?(?:final |correct )?(?:answer|option|choice|letter)\b)?\W*([a-z])\W*", re.IGNORECASE
)
_TAGGED = re.compile(r"\\boxed\s?\{|<answer>|<\|begin_of_box\|>|\bfinal answer:", re.IGNORECASE)
_LONGEST_TAGGED = 400
_CORRECTION = re.compile(
    r"(?:^|[.!?\n,;…—–-])\s*(?:oh,? |no,? |hmm,? |but )?"
    r"(?:wait|actually|correction|on second thought|scratch that|I mean|sorry)\b\s?[,:.!—–-]*",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"[(\[（【\"'“]*([A-Za-z])(?!['’]\w)(?:\s?[)\]）】\"'”.:,;、。：．]+|\s?[-–—]\s|(?=\n))(\s?)(.*)",
    re.DOTALL,
)
_ENCLOSED = re.compile(r"[(\[（【\"“]\s?([A-Za-z])\s?[)\]）】\"”]|(?:^|\n)([A-Z])[.):：]")
_CAPITAL = re.compile(rf"(?<![{LATIN}])([A-Z])(?![{LATIN}])(?!['’\-]\w)")
_IN_A_NAME = re.compile(r"\b(?!(?:or|and|nor|not|is|to|than|of|vs)\b)[A-Za-z]{2,}\s$")
_DENIED = re.compile(
    r"(?:(?:is|was|would|can|could|does|do|did|should|must|may|might|will|has)(?:n['’]t| not)|cannot)\b"
    r"|(?:is|was|seems|appears|looks)(?: to be)? (?:wrong|incorrect|unlikely)\b",
    re.IGNORECASE,
)
_COMPARES = re.compile(r"\b(?:than|instead of)\b")
_RECURS = 40
"""Characters of an answer that may well be another question's too."""
_FEW = 12
"""Words after a correction that still only say what is right instead."""
_SHORT = 3
"""Words of an answer in which a bare capital letter is still taken for the choice."""


def read_choice(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that `text` chooses among `options`, or None. Without options, any letter may be chosen."""
    letters = "".join(options) or string.ascii_uppercase
    said = _said(text, letters)
    return (
        (said.tagged and _read(_said(said.tagged, letters), options, tagged=True))
        or _read(said, options)
        or None
    )


class _Said:
    """A text, and what it says whatever the options' texts are."""

    def __init__(self, text: str, letters: str, tagged: str = "") -> None:
        """`text` is `clean`; `tagged` what `_tagged` found before it was."""
        self.text, self.letters, self.tagged = text, letters, tagged
        self.alone = _alone(text, letters)
        self.may_list = not text.isascii() or all(map(text.upper().__contains__, letters))
        """Whether it may have a list of all the options."""

    @cached_property
    def plain(self) -> str:
        return _plain(self.text)

    @cached_property
    def correction(self) -> str:
        return _correction(self.text)

    @cached_property
    def stated(self) -> str | None:
        return last_statement(self.text, self.letters)


def _said(raw: str, letters: str) -> _Said:
    """What a text says. Of short ones the latest are kept, because the same ones answer many questions."""
    return _kept(raw, letters) if len(raw) <= _RECURS else _Said(clean(raw), letters, _tagged(raw))


@lru_cache(maxsize=1024)
def _kept(raw: str, letters: str) -> _Said:
    return _Said(clean(raw), letters, _tagged(raw))


def _read(said: _Said, options: Mapping[str, str], *, tagged: bool = False) -> str | None:
    letters = said.letters
    if said.may_list and (text := _without_listing(said.text, options)) != said.text:
        said = _Said(text, letters)
    found = said.alone
    if found is None:
        found = _option_alone(said.plain, options)
    if found is None and said.correction:
        found = _read(_said(said.correction, letters), options) or None
    if found is None:
        found = said.stated
    if found is not None:
        return found
    text = said.text
    labelled = _labelled(text, letters, options)
    if labelled or tagged:
        return labelled
    weighed = _in_prose(text, letters, options)
    if weighed or labelled is not None:
        return weighed
    within = _option_within(text, letters, options)
    return _marked(text, letters) if within is None else within


def clean(text: str) -> str:
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
    collapsed = " ".join(clean(text).casefold().split())
    return collapsed.strip(" \"'“”‘’.,;:!?。、，！？") or collapsed


@lru_cache(maxsize=4096)
def plain_option(text: str) -> str:
    """The same for an option, which is compared several times and often comes again in the next question."""
    return _plain(text)


def _valid(letter: str, letters: str) -> bool:
    return letter.upper() in letters


def _tagged(text: str) -> str:
    """What the last box, answer tag or "Final answer:" holds; empty where there is none."""
    last = _last(_TAGGED, text)
    if last is None:
        return ""
    rest = text[last.end() : last.end() + _LONGEST_TAGGED]
    if not last.group().endswith("{"):
        return re.split(r"</answer>|<\|end_of_box\|>|\n", rest.lstrip(), maxsplit=1, flags=re.IGNORECASE)[0]
    depth = 1
    for position, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:position]
    return ""


def _without_listing(text: str, options: Mapping[str, str]) -> str:
    """Without a list of all the options, which chooses none of them: "A. cat, B. dog" or one per line.

    "(A) the cat is closer than (B) the dog" is no list.
    """
    if len(text) < sum(len(plain_option(option)) + 2 for option in options.values()):
        return text  # too short for a list; four patterns of one question cost a hundred times the rest
    start, end = -1, 0
    for number, pattern in enumerate(_listed(tuple(options.items()))):
        found = pattern.search(text) if number == 0 else pattern.match(text, end)
        if found is None or (number and _COMPARES.search(text, end, found.start(1))):
            return text
        start, end = (found.start(1) if number == 0 else start), found.end()
    return text if start < 0 else f"{text[:start]}\n{text[end:]}".strip(" \n,.;")


@lru_cache(maxsize=1024)
def _listed(options: tuple[tuple[str, str], ...]) -> list[re.Pattern[str]]:
    """For each option what finds its letter and text, not far from where the one before ended."""
    between = r"[\s).:,–-]{1,4}(?:(?:is|the|an?)\s){0,2}"
    return [
        re.compile(
            rf"{'.{0,60}?' if number else ''}(?<![{LATIN}])(\(?{letter}\b){between}"
            rf"{re.escape(plain_option(text))}(?![{LATIN}])",
            re.IGNORECASE | re.DOTALL,
        )
        for number, (letter, text) in enumerate(options if len(options) > 1 else ())
    ]


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return deque(pattern.finditer(text), maxlen=1)[0] if pattern.search(text) else None


def _alone(text: str, letters: str) -> str | None:
    match = _ALONE.fullmatch(text)
    if match is None:
        return _AMBIGUOUS if not text else None
    return match.group(1).upper() if _valid(match.group(1), letters) else _AMBIGUOUS


def _option_alone(plain: str, options: Mapping[str, str]) -> str | None:
    equal = _options_equal_to(plain, options)
    if not equal:
        return None
    return equal[0] if len(equal) == 1 else _AMBIGUOUS


def _options_equal_to(plain: str, options: Mapping[str, str]) -> list[str]:
    return [letter for letter, option in options.items() if plain_option(option) == plain]


def _correction(text: str) -> str:
    """The few words after the last correction: "B. No wait, C"; empty where there is none."""
    last = _last(_CORRECTION, text)
    if last is None or not last.start():
        return ""
    after = text[last.end() :].strip()
    return after if len(after.split()) <= _FEW else ""


def _labelled(text: str, letters: str, options: Mapping[str, str]) -> str | None:
    match = _LABEL.match(text)
    if match is None or not _valid(match.group(1), letters):
        return None
    letter, rest = match.group(1).upper(), match.group(3).strip()
    next_label = _LABEL.match(rest)
    if match.group(2) == "\n" and not (next_label and _valid(next_label.group(1), letters)):
        return letter  # a label on a line of its own, and then an explanation
    own = plain_option(options.get(letter, ""))
    if own and re.match(re.escape(own) + r"(?!\w)", _plain(rest)):
        return letter
    if _DENIED.match(rest):
        return _AMBIGUOUS  # "(C) is not the answer": a sentence, no label
    named = _options_equal_to(_plain(rest), options)
    others = _marked_letters(rest, letters, named=False) - {letter}
    return _AMBIGUOUS if others or named else letter


def _in_prose(text: str, letters: str, options: Mapping[str, str]) -> str | None:
    """What whole sentences settle on; a text without one is no prose."""
    if len(text.split()) <= _SHORT:
        return None
    plain = {letter: plain_option(option) for letter, option in options.items()}
    return read_prose(text, option_finder(letters, plain))


def _option_within(text: str, letters: str, options: Mapping[str, str]) -> str | None:
    """The only option whose text occurs as words; an option inside a longer one that occurs doesn't count."""
    by_text: dict[str, list[str]] = {}
    for letter, option in options.items():
        by_text.setdefault(plain_option(option), []).append(letter)
    alternatives = "|".join(re.escape(option) for option in sorted(by_text, key=len, reverse=True) if option)
    if not alternatives:
        return None
    pattern = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
    found = {match.group().casefold() for match in pattern.finditer(text)}
    chosen = by_text.get(next(iter(found)), []) if len(found) == 1 else []
    if len(chosen) != 1:
        return _AMBIGUOUS if found else None
    around = pattern.sub("it", text)  # a word, so that the A of "A dog" stays an article
    contradicted = NEGATION.search(around) or _marked_letters(around, letters) - set(chosen)
    return _AMBIGUOUS if contradicted else chosen[0]


def _marked(text: str, letters: str) -> str | None:
    marked = _marked_letters(text, letters)
    if len(marked) != 1 or NEGATION.search(text):
        return None
    enclosed = _ENCLOSED.search(text) is not None
    return next(iter(marked)) if enclosed or len(text.split()) <= _SHORT else None


def _marked_letters(text: str, letters: str, *, named: bool = True) -> set[str]:
    """Letters that stand as letters: enclosed, labelling a line, or a capital by itself.

    `named`: also those that end a name, such as "point B" or "Vitamin C".
    """
    marked = {match.group(1) or match.group(2) for match in _ENCLOSED.finditer(text)}
    for match in _CAPITAL.finditer(text):
        around = text[max(0, match.start() - 20) : match.start()]
        if not is_a_word(text, match.group(1), match.end(1)) and (named or not _IN_A_NAME.search(around)):
            marked.add(match.group(1))
    return {letter.upper() for letter in marked if _valid(letter, letters)}
