"""MathVision (MATH-V; Wang et al. 2024): the final answer is cut out of the text, and compared as text or as a number.

Source: `evaluation/` of mathllm/MATH-V, of which lmms-eval's task is a copy. The reference parses both sides with
latex2sympy2 and passes the printed formula to Python's `eval`; here a parser of our own finds the value of a formula
without variables (`latex_numbers`). One with variables, which the reference can't evaluate either, is only equal as a
text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.core import Sample
from muster.metrics.averages import mean_score
from muster.metrics.latex_numbers import NoNumberError, Value, value_of
from muster.metrics.letters.muster import read_choice
from muster.metrics.letters.options import lettered
from muster.metrics.numbers import is_float
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

_BOXED = re.compile("oxed{(.*)}", re.DOTALL)
_FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_DROPPED = ("\\left", "\\right", "^{\\circ}", "^\\circ")
_UNITS = ("{m}^3", "m^3", "{units}", "units", "{km}", "km")
_FRACTION = re.compile(r"(-?\d+)/(-?\d+)")


@dataclass(frozen=True, kw_only=True)
class MathVision(VariantMetric):
    """MathVision's accuracy. `official` is the authors' script, `lmms-eval` its copy there, which knows no functions.

    lmms-eval leaves out an import, so that √2, π and the like can't be compared as numbers; and it mends the reading of
    roots with a degree. `muster` is the official rule that also reads a letter as Muster does everywhere.
    The right answer is a letter where there are `choices` (their texts count too), else a text.
    """

    name: ClassVar[str] = "mathvision"
    version: ClassVar[int] = 2
    variants: ClassVar[tuple[str, ...]] = ("official", "lmms-eval", "muster")

    variant: str = "official"

    @cached_property
    def info(self) -> MetricInfo:
        """`accuracy`; of the scripts also `overall`, the percentage that they print."""
        units = {"accuracy": "0-1"} | ({} if self.variant == "muster" else {"overall": "percent"})
        return self._described("accuracy", units, {"accuracy": "accuracy"})

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is the final answer as it is compared."""
        mends_roots = self.variant != "official"
        answer = final_answer(prediction, degrees=mends_roots)
        right = [*sample.answers, *_right_texts(sample)]
        hit = any(equal(each, answer, functions=self.variant != "lmms-eval") for each in right)
        if self.variant == "muster" and not hit and sample.choices:
            letter = read_choice(_boxed(prediction) or prediction, lettered(sample.choices))
            return Score({"accuracy": float(letter in sample.answers)}, letter or answer)
        return Score({"accuracy": float(hit)}, answer)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = {"accuracy": mean_score(rows, "accuracy")}
        if "overall" in self.info.units:
            right = sum(row.score.scores["accuracy"] for row in rows)
            result["overall"] = round(right / len(rows) * 100, 2)
        return result


def _right_texts(sample: Sample) -> list[str]:
    options = lettered(sample.choices)
    return [options[answer] for answer in sample.answers if answer in options]


def _boxed(text: str) -> str | None:
    found = re.findall(r"oxed\{([^{}]*)\}", text)
    return found[-1] if found else None


def final_answer(text: str, *, degrees: bool = False) -> str:
    r"""The final answer in small letters, LaTeX made uniform. `degrees`: whether `\sqrt[3]` is left as it is."""
    answer = text.strip()
    for letter in "ABCDE":
        ends = (f" {letter}.", f" ({letter}).")
        begins = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if answer.endswith(ends) or answer.startswith(begins):
            answer = letter
    last = answer.split("is ")[-1].rstrip(".")
    if is_float(last):
        answer = last
    if "oxed{" not in answer:
        for flag in _FLAGS:
            for spelled in (flag, flag.replace("the", "The")):
                answer = _after(answer, spelled)
    elif answer.count("oxed{") > 1:
        answer = "\\boxed{" + answer.split("oxed{")[-1]
    answer = _uniform(answer, degrees=degrees)
    for letter in "abcde":
        answer = answer.replace(f"({letter})", letter)
    for letter in "abcde":
        answer = answer.replace(f"{{{letter}}}", letter)
    return answer.rstrip(".").lstrip(":").strip()


def _after(text: str, flag: str) -> str:
    rest = text.split(flag)[-1].strip()
    return rest.split("\n")[0].split(". ")[0] if flag in text else rest


def _uniform(text: str, *, degrees: bool) -> str:
    text = text.lower().replace("{}", "")
    boxed = _BOXED.findall(text)
    answer: str = boxed[-1] if boxed else text
    closing, opening = answer.find("}"), answer.find("{")
    if closing != -1 and (opening == -1 or closing < opening):
        answer = answer.split("}")[0]
    answer = answer.split("=")[-1].split("\\approx")[-1]
    answer = answer.replace(" ", "").replace("\\,", "").replace("∞", "\\infty")
    answer = answer.replace("+\\infty", "\\infty").replace("\\\\", "\\").replace("\n", "")
    answer = answer.replace("\\text", "").replace("\\mbox", "").replace("bmatrix", "pmatrix")
    for dropped in (*_DROPPED, *_UNITS):
        answer = answer.replace(dropped, "")
    return _plain_latex(answer, degrees=degrees)


def _plain_latex(text: str, *, degrees: bool) -> str:
    text = text.replace("\\!", "").replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    for dropped in (*_DROPPED, "\\$", "$"):
        text = text.replace(dropped, "")
    text = text.split("\\text{ ")[0].replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if text.startswith("."):
        text = "0" + text
    for sign in ("=", "\\approx"):
        if text.count(sign) == 1:
            text = text.split(sign)[-1]
    rooted = "sqrt" in text
    if rooted:
        text = _with_braced_roots(text, degrees=degrees)
    text = text.replace(" ", "")
    if "sqrt" in text:  # sic: fractions without braces are only mended beside a root
        text = _with_braced_fractions(text)
    if text == "0.5":
        return "\\frac{1}{2}"
    fraction = _FRACTION.fullmatch(text)
    if fraction and all(str(int(part)) == part for part in fraction.groups()):
        return f"\\frac{{{fraction[1]}}}{{{fraction[2]}}}"
    return text


def _with_braced_roots(text: str, *, degrees: bool) -> str:
    first, *others = text.split("\\sqrt")
    well_formed = "{[" if degrees else "{"
    for part in others:
        braced = f"{{{part[0]}}}{part[1:]}" if part and part[0] not in well_formed else part
        first += "\\sqrt" + braced
    return first


def _with_braced_fractions(text: str) -> str:
    first, *others = text.split("\\frac")
    for part in others:
        if part.startswith("{"):
            first += "\\frac" + part
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            first += f"\\frac{{{part[0]}}}{part[1:]}"
        else:
            first += f"\\frac{{{part[0]}}}{{{part[1]}}}{part[2:]}"
    return first


def equal(right: str, answer: str, *, functions: bool = True) -> bool:
    """Whether two answers are the same text, or formulas of the same value to two decimals.

    `functions`: whether formulas may have roots, π and the like.
    """
    right, answer = right.lower(), answer.lower()
    if not right.strip(" ") or not answer.strip(" "):
        return False
    if right.strip() == answer.strip():
        return True
    right, answer = (
        _evaluated_items(right, functions=functions),
        _evaluated_items(answer, functions=functions),
    )
    if right == answer:
        return True
    try:
        return _rounded(right, functions=functions) == _rounded(answer, functions=functions)
    except NoNumberError:
        return False


def _evaluated_items(text: str, *, functions: bool) -> str:
    """`(1/2,3)` as `(0.5,3)`; other texts as they are."""
    items = text[1:-1].split(",")
    if len(items) < 2 or (text[0], text[-1]) not in {("(", ")"), ("[", "]")}:
        return text
    try:
        shown = [
            item if "infty" in item or item in ("a", "-a") else str(_rounded(item, functions=functions))
            for item in items
        ]
    except NoNumberError:
        return text
    return f"{text[0]}{','.join(shown)}{text[-1]}"


def _rounded(formula: str, *, functions: bool) -> int | float:
    """As Python prints it: whole numbers stay whole where no division made them. Raises `NoNumberError`."""
    value: Value = value_of(formula)
    if not functions and not value.plain:
        raise NoNumberError("a function or a constant")
    number = value.number
    if not isinstance(number, float) and number.denominator == 1:
        return number.numerator
    try:
        return round(float(number), 2)
    except OverflowError as error:
        raise NoNumberError("too large") from error
