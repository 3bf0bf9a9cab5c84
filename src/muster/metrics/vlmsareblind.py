"""VLMs are blind (BlindTest; Rahmanzadehgervi et al. 2024): counting, touching and following of simple shapes.

Sources: lmms-eval's task and VLMEvalKit's class, which read each task's own form of answer; the variant `muster` is our
own. The authors publish prompts and pictures, and no code that reads answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from muster.core import Sample
from muster.metrics import verdicts
from muster.metrics.macro_mean import MacroMean
from muster.metrics.numbers import stated_number
from muster.metrics.protocol import Score

_TOUCHING, _LETTER, _GRID = "touching circles", "circled letter", "counting grid"
_OLYMPIC = "olympic counting"
_COUNTED = ("line plot intersections", "subway connections", "nested squares", _OLYMPIC)
_LMMS_NUMBER = re.compile(r"\{?(\d+)\}?")
_LMMS_LETTER = re.compile(r"\{?([a-z])\}?")
_LMMS_PAIRS = tuple(
    map(
        re.compile,
        (r"\{(\d+)\}\s*\{(\d+)\}", r"\((\d+)\s*,\s*(\d+)\)", r"rows=\{(\d+)\}\scolumns=\{(\d+)\}"),
    )
)
_BRACE = re.compile(r"([{}])")
_ROWS, _COLUMNS = re.compile(r"[Rr]ow"), re.compile(r"[Cc]olumn")
_VLM_PAIR = re.compile(r"\((\d+),\s*(\d+)\)")
_NUMBER = re.compile(r"\d+")
_BRACED_LETTER = re.compile(r"[{(\"'“‘\[*]\s?([a-z])\s?[})\"'”’\]*]")
_LONE_LETTER = re.compile(r"(?<![\w'’])([a-z])(?![\w'’])")


@dataclass(frozen=True, kw_only=True)
class VlmsAreBlind(MacroMean):
    """`accuracy`, and `average` over the tasks, which the metadata key `macro` tells apart; both grids are one task.

    lmms-eval takes the first number, the first letter at all ("t" of "the letter is b") and yes or no alone; VLMEvalKit
    wants braces, but takes "15" for 5 in the Olympic logos and "not sure, yes or no" for either.
    """

    name: ClassVar[str] = "vlmsareblind"
    variants: ClassVar[tuple[str, ...]] = ("muster", "lmms-eval", "vlmevalkit")
    headline: ClassVar[tuple[str, ...]] = variants

    macro: str = "task"

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the number, letter, word, or `rows,columns`."""
        task = str(sample.metadata.get(self.macro)).lower()
        if self.variant == "vlmevalkit":
            hit, said = _vlmevalkit(task, sample.answer, prediction)
            return Score({"accuracy": float(hit and bool(sample.answers))}, said)
        read = _lmms_eval if self.variant == "lmms-eval" else _muster
        said = read(task, prediction.strip().lower())
        right = sample.answer.strip().lower()
        return Score({"accuracy": float(said is not None and said == right)}, said)

    def _category_of(self, sample: Sample) -> str:
        task = super()._category_of(sample)
        return _GRID if task.lower().startswith(_GRID) and self.variant != "vlmevalkit" else task


def _lmms_eval(task: str, text: str) -> str | None:
    if task == _TOUCHING:
        return text if text in ("yes", "no") else None
    if task.startswith(_COUNTED):
        number = _LMMS_NUMBER.search(text)
        return number.group(1) if number else None
    if task == _LETTER:
        letter = _LMMS_LETTER.search(text)
        return letter.group(1) if letter else None
    pair = next(filter(None, (pattern.search(text) for pattern in _LMMS_PAIRS)), None)
    return ",".join(pair.groups()) if pair and task.startswith(_GRID) else None


def _vlmevalkit(task: str, right: str, text: str) -> tuple[bool, str | None]:
    if task == _TOUCHING:
        return right.lower() in text.lower(), text
    if task.startswith(_OLYMPIC):
        return right in text, text
    if not task.startswith(_GRID):
        said = _in_braces(text)
        return said == right, said
    rows, columns = _braced_after(_ROWS, text), _braced_after(_COLUMNS, text)
    pair = _VLM_PAIR.search(text)
    if rows and columns:
        said = _pair(rows, columns)
    elif pair:
        said = _pair(*pair.groups())
    else:
        return False, None
    return said == _pair(*map(str.strip, right.split(","))), said


def _pair(*numbers: str) -> str:
    return ",".join(number.lstrip("0") or "0" for number in numbers)


def _in_braces(text: str) -> str:
    """What stands in the first braces of one line."""
    for line in text.split("\n"):
        start = line.find("{")
        end = line.find("}", start + 1)
        if 0 <= start < end:
            return line[start + 1 : end]
    return ""


def _braced_after(word: re.Pattern[str], text: str) -> str | None:
    """The first number in braces that follows the word with no other brace between."""
    pieces = _BRACE.split(text)
    for place in range(0, len(pieces) - 3, 2):
        before, opening, number, closing = pieces[place : place + 4]
        if opening + closing == "{}" and _NUMBER.fullmatch(number) and word.search(before):
            return number
    return None


def _muster(task: str, text: str) -> str | None:
    """Yes or no; the stated or only number; the letter in braces or quotes, or the only one; the only two numbers."""
    if task == _TOUCHING:
        return verdicts.muster(text)
    if task == _LETTER:
        letters = set(_BRACED_LETTER.findall(text)) or set(_LONE_LETTER.findall(text)) - {"a"}
        return text if len(text) == 1 else letters.pop() if len(letters) == 1 else None
    if task.startswith(_GRID):
        numbers = _NUMBER.findall(text)
        return _pair(*numbers) if len(numbers) == 2 else None
    return stated_number(text.replace("{", " ").replace("}", " "))
