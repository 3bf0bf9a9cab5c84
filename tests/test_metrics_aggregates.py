"""Aggregation of the metrics that are more than a mean: MME's points, POPE's F1, OCRBench's totals."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from muster.core import JSON, Media, Sample
from muster.metrics.mme import COGNITION, PERCEPTION
from muster.metrics.protocol import Metric, ScoredSample
from muster.metrics.registry import build_metric


def scored(metric: Metric, rows: Iterable[tuple[Sample, str]]) -> list[ScoredSample]:
    return [ScoredSample(sample, text, metric.score(sample, text)) for sample, text in rows]


def question(number: int, image: str, category: str, answer: str = "Yes", **metadata: JSON) -> Sample:
    return Sample(
        f"{category}/{image}/{number}",
        "?",
        images=(Media("image", path=f"/{category}/{image}.png"),),
        answers=(answer,),
        metadata={"category": category, **metadata},
    )


def pairs(results: dict[str, list[str]]) -> list[tuple[Sample, str]]:
    """`{"count": ["10", "11"]}`: per category and image, which of the two questions was answered right."""
    return [
        (question(number, str(image), category), "Yes" if right == "1" else "No")
        for category, images in results.items()
        for image, outcomes in enumerate(images)
        for number, right in enumerate(outcomes)
    ]


@pytest.mark.parametrize("variant", ["muster", "lmms-eval", "internvl", "vlmevalkit"])
def test_mme_points(variant: str) -> None:
    metric = build_metric("mme", {"official_categories": True}, variant)
    rows = scored(metric, pairs({"count": ["11", "10"], "code_reasoning": ["00", "11", "11", "01"]}))
    assert metric.aggregate(rows) == {
        "accuracy": 8 / 12,
        "accuracy_plus": 3 / 6,
        "score": 75 + 50 + 62.5 + 50,
        "perception": 125.0,
        "cognition": 112.5,
    }


def test_mme_adds_up_in_the_order_of_the_toolkit() -> None:
    # Guards the last bit: thirds don't add up to the same float in every order.
    results = {
        category: ["11", "10", "00"][: 1 + index % 3] for index, category in enumerate(PERCEPTION + COGNITION)
    }
    perception = {}
    for variant in ("lmms-eval", "internvl", "vlmevalkit"):
        metric = build_metric("mme", {"official_categories": True}, variant)
        perception[variant] = metric.aggregate(scored(metric, pairs(results)))["perception"]

    def total(order: Iterable[str]) -> float:
        points = 0.0
        for category in order:
            images = results[category]
            accuracy = sum(outcome.count("1") for outcome in images) / (2 * len(images))
            points += accuracy * 100 + sum(outcome == "11" for outcome in images) / len(images) * 100
        return points

    assert perception["internvl"] == total(PERCEPTION)
    assert perception["vlmevalkit"] == total(sorted(PERCEPTION))
    assert perception["lmms-eval"] == pytest.approx(total(PERCEPTION), abs=1e-9)


def test_mme_categories_do_not_share_images_and_repeats_do_not_share_pairs() -> None:
    metric = build_metric("mme", {"group": "image_name"})
    rows = [
        (question(number, "same", category, image_name="same"), "Yes")
        for category in ("a", "b")
        for number in (0, 1)
    ]
    first = scored(metric, rows)
    wrong = scored(metric, [(sample, "No") for sample, _ in rows])
    second = [ScoredSample(row.sample, row.prediction, row.score, repeat=1) for row in wrong]
    assert metric.aggregate(first + second)["accuracy_plus"] == 0.5


def test_mme_half_a_pair_is_not_an_image_answered_right() -> None:
    # One question of a pair errored: the other alone must not earn accuracy+.
    metric = build_metric("mme")
    rows = scored(metric, pairs({"count": ["11", "1"]}))
    assert metric.aggregate(rows)["accuracy_plus"] == 0.5


def test_pope_aggregates_by_variant() -> None:
    answers = [("yes", "Yes"), ("yes", "No"), ("yes", "maybe"), ("no", "Yes"), ("no", "No"), ("no", "No.")]
    rows = [(question(index, "x", "random", gold), text) for index, (gold, text) in enumerate(answers)]
    got = {}
    for variant in ("muster", "lmms-eval", "internvl", "vlmevalkit"):
        metric = build_metric("yes_no", variant=variant)
        got[variant] = metric.aggregate(scored(metric, rows))
        assert set(got[variant]) == set(metric.info.units)
    assert got["muster"] == {
        "accuracy": 3 / 6, "precision": 1 / 2, "recall": 1 / 3, "f1": 2 * (1 / 2 * (1 / 3)) / (1 / 2 + 1 / 3),
        "yes_ratio": 2 / 6,
    }  # fmt: skip
    assert got["lmms-eval"]["recall"] == 1 / 2  # "maybe" counts nowhere
    assert got["lmms-eval"]["accuracy"] == 2 / 6  # "No." is wrong
    assert got["lmms-eval"]["yes_ratio"] == 3 / 6  # of the gold answers (sic)
    assert got["internvl"]["recall"] == 2 / 3  # "maybe" is yes
    assert got["internvl"]["yes_ratio"] == 3 / 6
    assert got["vlmevalkit"]["recall"] == 1 / 3
    assert got["vlmevalkit"]["overall"] == got["vlmevalkit"]["f1"] * 100


def test_internvl_publishes_the_mean_f1_of_the_categories() -> None:
    metric = build_metric("yes_no", variant="internvl")
    rows = [(question(0, "x", "random", "yes"), "yes"), (question(0, "x", "popular", "yes"), "no")]
    assert metric.aggregate(scored(metric, rows))["mean_category_f1"] == 50.0


def test_zero_denominators_are_zero() -> None:
    metric = build_metric("yes_no", variant="lmms-eval")
    rows = [(question(0, "x", "random", "no"), "no")]
    result = metric.aggregate(scored(metric, rows))
    assert (result["precision"], result["recall"], result["f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("variant", "name", "value"), [("lmms-eval", "final", 0.002), ("vlmevalkit", "norm", 0.2)]
)
def test_ocrbench_scales_by_a_constant(variant: str, name: str, value: float) -> None:
    metric = build_metric("ocrbench", variant=variant)
    rows = [
        (Sample(str(index), "?", answers=("abc",)), text) for index, text in enumerate(("xABC", "abc", "ab"))
    ]
    assert metric.aggregate(scored(metric, rows)) == {
        "accuracy": 2 / 3,
        "score": 2.0,
        "text_recognition": 0.0,
        name: value,
    }


def test_ocrbench_formulas_keep_their_case_and_lose_their_spaces() -> None:
    for variant, metadata in (
        ("lmms-eval", {"dataset": "HME100k"}),
        ("vlmevalkit", {"question_type": "Handwritten Mathematical Expression Recognition"}),
    ):
        metric = build_metric("ocrbench", variant=variant)
        sample = Sample("1", "?", answers=("x ^ 2",), metadata=dict(metadata))
        assert metric.score(sample, "it is x^2").scores["accuracy"] == 1.0
        assert metric.score(sample, "X^2").scores["accuracy"] == 0.0
        assert metric.score(sample, "x\t^2").scores["accuracy"] == 0.0
    plain = build_metric("ocrbench", variant="vlmevalkit")
    assert plain.score(
        Sample("1", "?", answers=("x ^ 2",), metadata={"dataset": "HME100k"}), "X ^ 2"
    ).scores == {"accuracy": 1.0}
