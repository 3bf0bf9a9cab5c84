"""Statements of the answer ("the answer is B", "I choose (C)", "答案是B"): the last one counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LATIN = r"A-Za-z0-9\u00c0-\u024f"
OPEN = r"[\s\"'“‘«(\[<（【「]*"
CLOSE = rf"(?![{LATIN}])(?!['’]\w)(?!\s*\?)"

_ANSWER = (
    r"(?:answers?|option|choice|答案|选项|選項|正解|答え|정답|답|उत्तर|الإجابة|الجواب"
    r"|\b(?:respuesta|resposta|risposta|réponse|antwort|antwoord|svar|odpowied[zź]|cevap|yanıt|jawaban|opción|opção"
    r"|opzione|válasz|răspunsul|đáp án|ответ|відповідь|απάντηση)\b)"
)
_QUALIFIER = (
    r"(?:\s(?:correct|right|best|final|corre(?:ct|tt|t)[aeo]|correct[ae]?|richtige|finale?|đúng"
    r"|सही|الصحيحة|الصحيح))?"
)
_IS = (
    r"(?:(?:is|are|as|was|should be|must be|would be|will be|could be|might be|es|é|è|est|ist|lautet|adalah|là|jest"
    r"|это|هي|هو)\b|है|:|=|：|是|为|為|は|은|는|\"\s?:)"
)
_FILLER = (
    r"(?:(?:clearly|clear|definitely|therefore|thus|most likely|probably|simply|indeed|still|option|choice|letter"
    r"|answer|point|box|image|la|le|der|die|das|letra|lettre|lettera|opción|opção|opzione)(?:\s?:)?\s?){0,3}"
)
_STATED = re.compile(rf"{_ANSWER}{_QUALIFIER}\s?{_IS}\s?{_FILLER}:?{OPEN}([A-Za-z]){CLOSE}", re.IGNORECASE)
_CHOSEN = re.compile(
    r"(?:\b(?:I|I['’]d|we) (?:would |will |['’]ll )?(?:choose|pick|select|go with|say|guess|vote for)"
    r"|\b(?:[Ii]t|[Tt]h(?:is|at))(?:['’]s| is| must be| should be| has to be| would be)"
    r"|\b(?:is|was|will be|would be|should be|must be) (?:option|choice|answer|letter)|选择?|選擇?)"
    rf"\s?(?:(?:option|choice|answer)\s)?:?{OPEN}([A-Z]){CLOSE}"
)
_NAMED = re.compile(rf"\b(?:[Oo]ption|[Cc]hoice)\s?{OPEN}([A-Z]|(?<=[Oo]ption )[b-z](?=\W*$)){CLOSE}")
_IS_CORRECT = re.compile(
    rf"(?<![{LATIN}])([A-Z])[)\]\"'”’.:]*(?: is (?:the )?(?:correct|right|best|answer)\b|(?:是)?正确)"
)
_OR_ANOTHER = re.compile(rf"[)\]\"'”’]*\s?,?\s?(?:or|and|/|,|&|或|和)\s?{OPEN}([A-Z])(?![{LATIN}])")
_GOES_ON = re.compile(r" (?!(?:because|since|as|due|and|but|which|however|for|so|or|is|was)\b)\w")
NEGATION = re.compile(
    r"\b(?:not|no(?!,)|never|neither|nor|none|cannot|except|unlike|without)\b|n['’]t\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?;\n]")
_ALSO_WORDS = frozenset("AI")
_ONE_SENTENCE = 12
"""Words of an answer in which "option B" is taken for the choice, whatever is said about it."""


class Statement(NamedTuple):
    """Where the answer is stated, and as what."""

    position: int
    letter: str
    """Empty where it names several."""


def last_statement(text: str, letters: str) -> str | None:
    """The letter of the last statement, empty where that names two; None where nothing is stated."""
    found = max(_statements(text, letters, (_STATED, _CHOSEN, _IS_CORRECT)), default=None)
    if found is None and len(text.split()) <= _ONE_SENTENCE:
        found = max(_statements(text, letters, (_NAMED,)), default=None)
    return None if found is None else found.letter


def _statements(text: str, letters: str, patterns: tuple[re.Pattern[str], ...]) -> Iterator[Statement]:
    for pattern in patterns:
        for match in pattern.finditer(text):
            letter, end = match.group(1), match.end(1)
            if letter.upper() not in letters or negated(text, match.start()):
                continue
            if pattern is not _IS_CORRECT and is_a_word(text, letter, end):
                continue
            another = _OR_ANOTHER.match(text, end)
            single = another is None or another.group(1) == letter.upper() or another.group(1) not in letters
            yield Statement(match.start(1), letter.upper() if single else "")


def is_a_word(text: str, letter: str, end: int) -> bool:
    """Whether the letter before `end` is rather an article, a pronoun or the start of a phrase."""
    return (letter in _ALSO_WORDS or letter.islower()) and _GOES_ON.match(text, end) is not None


def negated(text: str, position: int) -> bool:
    """Whether the two words before `position` deny what follows ("it is not option B"), in its sentence."""
    before = _SENTENCE_END.split(text[max(0, position - 40) : position])[-1]
    return NEGATION.search(" ".join(before.split()[-2:])) is not None
