"""pass@k and pass^k: guards against estimates that are biased, or that mix the repeats of different questions."""

from __future__ import annotations

from itertools import combinations

import pytest

from muster.core import ConfigurationError, Sample
from muster.metrics.protocol import ScoredSample
from muster.metrics.registry import build_metric
from muster.metrics.repeated import pass_at, pass_hat


@pytest.mark.parametrize("answers", [1, 2, 5, 8])
def test_they_are_the_shares_among_all_choices_of_k(answers: int) -> None:
    for right in range(answers + 1):
        outcomes = [1] * right + [0] * (answers - right)
        for k in range(1, answers + 1):
            drawn = list(combinations(outcomes, k))
            assert pass_at(k, right, answers) == pytest.approx(sum(map(any, drawn)) / len(drawn))
            assert pass_hat(k, right, answers) == pytest.approx(sum(map(all, drawn)) / len(drawn))
    with pytest.raises(ValueError, match="of 5 answers"):
        pass_at(6, 1, 5)


def test_any_metric_over_its_repeats() -> None:
    first, second = Sample("1", "?", answers=("a",)), Sample("2", "?", answers=("b",))
    texts = [(first, "a"), (first, "x"), (first, "a"), (second, "x"), (second, "x"), (second, "x")]
    for k, expected in ((None, (1 / 3, 0.5, 0.0)), (2, (1 / 3, 0.5, 1 / 6)), (1, (1 / 3, 1 / 3, 1 / 3))):
        metric = build_metric("repeats", {"of": "exact_match", **({"k": k} if k else {})})
        rows = [
            ScoredSample(sample, "", metric.score(sample, text), repeat=number % 3)
            for number, (sample, text) in enumerate(texts)
        ]
        values = metric.aggregate(rows)
        assert (values["avg@k"], values["pass@k"], values["pass^k"]) == pytest.approx(expected)
        copies = [ScoredSample(row.sample, "", row.score, row.repeat + 1_000_000) for row in rows]
        assert metric.aggregate([*rows, *copies]) == pytest.approx(values), "a resample's copies stay apart"


def test_a_metric_without_right_and_wrong_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no mean from 0 to 1"):
        build_metric("repeats", {"of": "mme"})


def test_a_judges_verdicts_count_as_well() -> None:
    metric = build_metric("repeats", {"of": "judged_match", "of_variant": "muster"})
    sample = Sample("1", "What is it?", answers=("a boat",))
    assert metric.judge_prompt is not None  # type: ignore[attr-defined]
    assert metric.inquiry(sample, "a small ship") is not None  # type: ignore[attr-defined]
    assert metric.score_verdict(sample, "true").scores == {"accuracy": 1.0}  # type: ignore[attr-defined]
