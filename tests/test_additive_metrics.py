"""The fast bootstrap: sums of terms give what aggregation gives, resample by resample.

Guards against intervals of another statistic than the one whose value stands beside them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import JSON, Media, Sample
from muster.metrics.mme import COGNITION, PERCEPTION, Mme
from muster.metrics.protocol import AdditiveMetric, Metric, Score, ScoredSample
from muster.metrics.registry import build_metric, metric_names, metric_variants
from muster.results import bootstrap, statistics
from muster.results.additive_bootstrap import additive_replicates
from muster.results.bootstrap import Effort, row_replicates
from muster.results.clusters import cluster_ids
from muster.results.statistics import estimate_metrics

PARAMETERS: dict[str, list[dict[str, JSON]]] = {
    "mme": [{}, {"group": "image"}, {"category": None}, {"official_categories": True}],
    "relaxed_accuracy": [{"split": "category"}],
    "yes_no": [{}, {"category": "image"}],
}
CATEGORIES = [*PERCEPTION[:2], *COGNITION[:2], "another", "human_test", "Digit String Recognition", None]
CATEGORY_KEYS = ("category", "l2_category", "question_type", "split", "sub_task", "task", "task_type")
READ_FROM_TEXT = ("mme", "yes_no")
"""Metrics whose per-answer scores are drawn through their answers; the others' are drawn as they are."""


def additive_metrics() -> list[Metric]:
    built = [
        build_metric(name, parameters, variant)
        for name in metric_names()
        for variant in metric_variants(name)
        for parameters in PARAMETERS.get(name, [{}])
        if name != "captions"  # scored together: test_metrics_captions.py
    ]
    return [
        metric
        for metric in built
        if isinstance(metric, AdditiveMetric) and set(metric.info.units) > set(metric.info.means)
    ]


METRICS = additive_metrics()


class Slow:
    """The same metric without its terms."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.info = metric.info

    def score(self, sample: Sample, prediction: str) -> Score:
        return self.metric.score(sample, prediction)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return self.metric.aggregate(rows)


def table(metric: Metric, generator: random.Random, images: int) -> list[ScoredSample]:
    """Images with one to three questions, some asked twice, some of any category, answered at random."""
    rows: list[ScoredSample] = []
    for image in range(images):
        category = generator.choice(CATEGORIES)
        for number in range(generator.choice([1, 2, 2, 2, 3])):
            metadata: dict[str, JSON] = {"image": str(image), "index": image + 1_000_000 * number}
            if category is not None:
                metadata |= dict.fromkeys(CATEGORY_KEYS, category)
            sample = Sample(
                f"{image}/{number}",
                "?",
                choices=() if metric.info.name in READ_FROM_TEXT else ("yes", "no"),
                images=(Media("image", path=f"/{image}.png"),),
                answers=(generator.choice(["yes", "yes", "no", "?"]),),
                metadata=metadata,
            )
            for repeat in range(generator.choice([1, 1, 2])):
                drawn = metric.info.name not in READ_FROM_TEXT
                text = "A" if drawn else generator.choice([sample.answer, "yes", "no", "No.", "hm"])
                score = metric.score(sample, text)
                if drawn:
                    score = Score({name: float(generator.random() < 0.6) for name in score.scores})
                rows.append(ScoredSample(sample, text, score, repeat))
            if generator.random() < 0.1:
                category = generator.choice(CATEGORIES)
    generator.shuffle(rows)
    return rows


def test_which_metrics_are_additive() -> None:
    assert {metric.info.name for metric in METRICS} == {
        *(
            "blink",
            "grounding",
            "mlvu",
            "mmbench",
            "mme",
            "mmstar",
            "ocrbench",
            "relaxed_accuracy",
            "vlmsareblind",
        ),
        "yes_no",
    }


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(METRICS), st.integers(2, 25), st.integers(0, 2**32), st.sampled_from([1.0, 0.4]))
def test_sums_and_rows_agree_on_every_resample(metric: Metric, images: int, seed: int, share: float) -> None:
    rows = table(metric, random.Random(seed), images)
    clusters = cluster_ids(rows)
    chosen = Effort(20, share)
    assert isinstance(metric, AdditiveMetric)
    fast = additive_replicates(metric.additive_terms(rows), clusters, chosen, seed)
    slow = row_replicates(metric.aggregate, rows, clusters, chosen, seed, copy=statistics._another_repeat)
    assert fast is not None
    assert set(fast) == set(metric.info.units) - set(metric.info.means)
    for name, values in fast.items():
        assert values == pytest.approx(slow[name], rel=1e-9, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: f"{metric.info.name}-{metric.info.variant}")
def test_estimates_are_the_same_either_way(metric: Metric) -> None:
    rows = table(metric, random.Random(3), 40)
    clusters = cluster_ids(rows)
    fast = estimate_metrics(metric, rows, clusters)
    slow = estimate_metrics(Slow(metric), rows, clusters)
    assert not isinstance(Slow(metric), AdditiveMetric)
    assert list(fast) == list(slow)
    for name, estimate in fast.items():
        assert estimate.value == slow[name].value
        assert estimate.stderr == pytest.approx(slow[name].stderr, rel=1e-6, abs=1e-12)
        assert (estimate.ci95 is None) == (slow[name].ci95 is None)
        if estimate.ci95:
            assert estimate.ci95 == pytest.approx(slow[name].ci95, rel=1e-9)


def test_images_split_between_clusters_are_left_to_the_rows() -> None:
    # Half an image that is drawn without the other half adds up to nothing that is known beforehand.
    metric = Mme()
    rows = table(metric, random.Random(5), 30)
    clusters = [str(number) for number in range(len(rows))]
    assert additive_replicates(metric.additive_terms(rows), clusters, Effort(10, 1.0)) is None
    assert estimate_metrics(metric, rows, clusters) == estimate_metrics(Slow(metric), rows, clusters)


def test_resamples_do_not_depend_on_how_many_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Mme()
    rows = table(metric, random.Random(6), 30)
    terms, clusters = metric.additive_terms(rows), cluster_ids(rows)
    together = additive_replicates(terms, clusters, Effort(50, 1.0))
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7 * len(set(clusters)))
    apart = additive_replicates(terms, clusters, Effort(50, 1.0))
    assert together is not None
    assert apart is not None
    assert all(np.array_equal(together[name], apart[name]) for name in together)
    assert len(together["score"]) == 50
