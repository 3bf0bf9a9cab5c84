"""Scores of random answers, and values of random formulas, that the toolkits' and authors' own code was run on.

Guards against a reader that agrees on the golden cases only: VLMEvalKit's once followed an older commit than the docs
named, and MathVision's formulas didn't end where latex2sympy2's do. `benchmarks.readers.reference` makes new ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.readers.compare import differences
from muster.core import Sample
from muster.metrics.latex_numbers import NoNumberError, value_of
from muster.metrics.registry import build_metric

GOLDEN = Path(__file__).parent / "golden"


def lines(name: str) -> list[str]:
    return (GOLDEN / name).read_text(encoding="utf-8").split("\n")[:-1]


def test_every_scoring_variant_counts_what_its_reference_counts() -> None:
    head, *cases = lines("readers.jsonl")
    found = list(differences([head, *cases[::4]]))
    assert not found, found[:3]


def test_formulas_are_worth_what_the_reference_finds() -> None:
    for line in lines("formulas.jsonl"):
        formula, expected = json.loads(line)
        try:
            number: float | None = round(float(value_of(formula).number), 2)
        except NoNumberError:
            number = None
        assert number == expected, formula


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (r"\frac{1}{4}", r"So it is $\boxed{\frac{1}{4}}$. The answer is: \frac{1}{4}"),
        (r"\frac{1}{4}", r"The answer is $\displaystyle\frac{1}{4}$"),
        ("0.25", r"\boxed{\frac{1}{4}. Good}"),
        ("2", r"The answer is 2.b"),
    ],
)
def test_a_formula_ends_where_the_reference_stops_reading(answer: str, text: str) -> None:
    metric = build_metric("mathvision")
    assert metric.score(Sample("1", "?", answers=(answer,)), text).scores["accuracy"] == 1.0


@pytest.mark.parametrize("variant", ["vlmevalkit", "lmms-eval"])
def test_an_api_failure_gives_up_the_letters_alone(variant: str) -> None:
    metric = build_metric("mmbench", variant=variant)
    sample = Sample("1", "?", choices=("zebra crossing", "answer", "cat", "dog"), answers=("B",))
    assert metric.score(sample, "Failed to obtain answer via API").extracted == "B"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("**The correct answer is** B, because it is red and so on.", None),
        ("The correct answer\nis B because it is red, see above", "B"),
        ("The answer is  **C**. It was the only one left over.", "C"),
    ],
)
def test_vlmevalkit_reads_as_its_named_commit(text: str, letter: str | None) -> None:
    metric = build_metric("multiple_choice", variant="vlmevalkit")
    sample = Sample("1", "?", choices=("one", "two", "three"), answers=("B",))
    assert metric.score(sample, text).extracted == letter


def test_the_letters_of_a_benchmark_are_read_by_its_own_rule() -> None:
    five = ("a cat", "a dog", "a cow", "a pig", "a horse")
    sample = Sample("1", "?", choices=five, answers=("E",))
    for metric in ("blink", "muirbench", "longvideobench", "egoschema"):
        assert build_metric(metric, variant="lmms-eval").score(sample, "E. a horse").scores["accuracy"] == 1.0
    said = "Both fit.\nAnswer: $B"
    two = Sample("1", "?", choices=("A pig", "a dog"), answers=("B",))
    assert build_metric("mmmu_pro", variant="official").score(two, said).scores["accuracy"] == 1.0
    assert build_metric("mmmu_pro", variant="vlmevalkit-cot").score(two, said).scores["accuracy"] == 1.0
    assert build_metric("mmmu_pro", variant="vlmevalkit").score(two, said).scores["accuracy"] == 0.0
