"""Guards against several right letters that each count by themselves, and against lists of letters that aren't read."""

from __future__ import annotations

import pytest

from muster.core import Sample
from muster.metrics.letters.several import read_choices
from muster.metrics.protocol import ScoredSample, UnscoredError
from muster.metrics.registry import build_metric

ANIMALS = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("AC", "AC"),
        ("A, C", "AC"),
        ("A,C", "AC"),
        ("a, c", "AC"),
        ("A C", "AC"),
        ("A and C", "AC"),
        ("(A), (C)", "AC"),
        ("**A, B, and D**", "ABD"),
        ("The answers are A and C.", "AC"),
        ("The answer is A, C. B shows something else.", "AC"),
        ("Answer: ACD", "ACD"),
        ("The correct options are (A) and (C).", "AC"),
        ("答案是A、C", "AC"),
        ("A. cat\nC. horse", "AC"),
        ("A cat and a horse", "AC"),
        ("\\boxed{A, C}", "AC"),
        ("B", "B"),
        ("The answer is B.", "B"),
        ("A or C", ""),
        ("A. cat\nB. dog\nC. horse\nD. cow", ""),
        ("no idea", ""),
        ("", ""),
        ("AX", ""),
    ],
)
def test_reads(text: str, letters: str) -> None:
    assert read_choices(text, ANIMALS) == frozenset(letters)


@pytest.mark.parametrize("answers", [("A", "C"), ("AC",), ("A, C",), ("cat", "horse"), ("a", "c")])
def test_whole_and_by_part(answers: tuple[str, ...]) -> None:
    metric = build_metric("multiple_choice", {"all_of": True})
    sample = Sample("1", "q", choices=tuple(ANIMALS.values()), answers=answers)
    expected = {
        "A, C": (1.0, 1.0),
        "A": (0.0, 0.5),
        "A, B, C": (0.0, 2 / 3),
        "D": (0.0, 0.0),
        "what": (0.0, 0.0),
    }
    for text, (accuracy, partial) in expected.items():
        assert metric.score(sample, text).scores == {"accuracy": accuracy, "partial": partial}
    rows = [ScoredSample(sample, "", metric.score(sample, text)) for text in ("A, C", "A")]
    assert metric.aggregate(rows) == {"accuracy": 0.5, "partial": 0.75}
    assert metric.info.units == {"accuracy": "0-1", "partial": "0-1"}


def test_without_all_of_any_counts_and_toolkits_say_that_they_can_not() -> None:
    sample = Sample("1", "q", choices=tuple(ANIMALS.values()), answers=("A", "C"))
    assert build_metric("multiple_choice").score(sample, "C").scores == {"accuracy": 1.0}
    with pytest.raises(UnscoredError, match="one letter"):
        build_metric("multiple_choice", {"all_of": True}, "lmms-eval").score(sample, "A, C")
