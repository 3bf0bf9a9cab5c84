"""MathVision's formulas: the reference's verdicts, found without running anything that a model wrote.

Guards against a comparison that differs from the authors' script, which evaluates answers as Python, and against
answers that take for ever.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muster.core import Sample
from muster.metrics.latex_numbers import NoNumberError, value_of
from muster.metrics.mathvision import equal
from muster.metrics.registry import build_metric

RECORDED = Path(__file__).parent / "golden" / "mathvision.jsonl"
"""Made by running the authors' script, and lmms-eval's changes to it, with latex2sympy2 1.9.1 on made-up answers."""


@pytest.mark.parametrize("variant", ["official", "lmms-eval"])
def test_the_scripts_verdicts_and_extractions(variant: str) -> None:
    metric = build_metric("mathvision", variant=variant)
    differ = []
    cases = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]
    for case in cases:
        sample = Sample("s", "Q", choices=tuple(case["options"]), answers=(case["answer"],))
        score = metric.score(sample, case["prediction"])
        if [score.extracted, bool(score.scores["accuracy"])] != case["expected"][variant]:
            differ.append((case, score))
    assert len(cases) > 200
    assert not differ


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("4/3\\pi", 0.42441318157838753),
        ("6/2(3)", 1),
        ("-2^2", -4),
        ("2^{-1}", 0.5),
        ("1,000", 1000),
        ("\\sqrt[3]{8}", 2),
        ("1\\frac{1}{2}", 0.5),
        ("5!", 120),
    ],
)
def test_formulas_are_worth_what_the_reference_finds(formula: str, value: float) -> None:
    assert float(value_of(formula).number) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "formula",
    [
        "9^{9^{9}}",
        "9**9**9**9",
        "200!",
        "(" * 5000,
        "(" * 200 + "1" + ")" * 200,
        "1" * 100_000,
        "\\binom{99999999}{50000}",
        "__import__('os').system('true')",
        "x",
        "1/0",
        "",
        "1+",
        "\\sqrt{-1}",
    ],
)
def test_what_is_no_number_or_too_large_is_refused_at_once(formula: str) -> None:
    with pytest.raises(NoNumberError):
        value_of(formula)
    assert not equal("7", formula)


def test_our_own_variant_reads_letters_as_everywhere() -> None:
    sample = Sample("s", "Q", choices=("12", "7", "5", "3", "1"), answers=("B",))
    text = "The correct option is B) 7"
    scores = {
        variant: build_metric("mathvision", variant=variant).score(sample, text).scores["accuracy"]
        for variant in ("official", "muster")
    }
    assert scores == {"official": 0.0, "muster": 1.0}
