"""Numbers that are spelled out in English: twelve, twenty-one, three hundred and five, two million, minus one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIZES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
"""Words that multiply what stands before them."""

_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
SMALL = dict(zip(_UNITS.split(), range(20), strict=True)) | dict(
    zip(_TENS.split(), range(20, 100, 10), strict=True)
)
"""Words below a hundred."""

_WORD = re.compile(r"[^\W\d_]++")
_MINUS = frozenset(("minus", "negative"))
_PRONOUN = frozenset(("the", "this", "that", "which", "no", "any", "every", "each", "some", "another"))
"""After these "one" counts nothing."""


def spelled_numbers(text: str) -> Iterator[int]:
    """The numbers in words, in their order. Words that can't be one number together ("two three") are several."""
    number, before, end = _Spelled(), "", 0
    for match in _WORD.finditer(text):
        word = match.group().casefold()
        if word == "one" and before in _PRONOUN:
            word = ""
        if text[end : match.start()].strip() not in ("", "-") or not number.goes_on(word):
            yield from number.value()
            number = _Spelled(negative=word in _MINUS)
            number.goes_on(word)
        before, end = word, match.end()
    yield from number.value()


@dataclass(slots=True)
class _Spelled:
    """A number of which the words so far have been read."""

    negative: bool = False
    begun: bool = False
    total: int = 0
    group: int = 0
    """What the next word of size multiplies."""
    smallest: int = 10**15
    """The last word of size: the next one must be smaller."""

    def goes_on(self, word: str) -> bool:
        """Read `word` as the next one of this number; False where it isn't."""
        if word in SMALL:
            value = SMALL[word]
            fits = self._is_round() or (self.group % 100 >= 20 and self.group % 10 == 0 and 0 < value < 10)
            self.group += value if fits or not self.begun else 0
        elif word == "hundred":
            fits = 0 < self.group < 100
            self.group = 100 if not self.begun else self.group * 100 if fits else self.group
        elif word in SIZES:
            size = SIZES[word]
            fits = self.group > 0 and size < self.smallest
            if fits or not self.begun:
                self.total, self.group, self.smallest = self.total + max(self.group, 1) * size, 0, size
        else:
            return word == "and" and self._is_round()
        if fits or not self.begun:
            self.begun = True
            return True
        return False

    def value(self) -> Iterator[int]:
        """The number, where it has begun."""
        if self.begun:
            yield (self.total + self.group) * (-1 if self.negative else 1)

    def _is_round(self) -> bool:
        """Whether words below a hundred, and an "and" before them, may follow."""
        return self.group % 100 == 0 and (self.group > 0 or self.total > 0)
