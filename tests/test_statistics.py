"""Uncertainty of scores: intervals that cover, formulas that agree with each other, values that never change."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import JSON, Media, Sample
from muster.metrics.protocol import CorpusMetric, Metric, MetricInfo, Score, ScoredSample
from muster.metrics.registry import build_metric
from muster.results.bootstrap import bootstrap_estimates, effort
from muster.results.groups import group_results
from muster.results.intervals import Estimate, mean_estimate, wilson
from muster.results.quantiles import t_quantile
from muster.results.results import MetricResult, SampleCounts, TaskResults
from muster.results.statistics import bootstrap_estimate, cluster_ids, estimate_metrics


def names(count: int) -> list[str]:
    return [str(index) for index in range(count)]


def mean(rows: Sequence[float]) -> float:
    return sum(rows) / len(rows)


# --- means -----------------------------------------------------------------------------------------------------


def test_none_where_there_is_nothing_to_estimate_from() -> None:
    assert math.isnan(mean_estimate([]).value)
    assert mean_estimate([]).ci95 is None
    assert mean_estimate([1.0]) == Estimate(1.0, None, None)
    assert mean_estimate([1.0, 0.0], ["same", "same"]) == Estimate(0.5, None, None)


def test_textbook_values() -> None:
    values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    estimate = mean_estimate(values)
    assert estimate.stderr == pytest.approx(statistics.stdev(values) / math.sqrt(8))
    assert estimate.ci95 == pytest.approx((5 - 2.364624 * 0.7559289, 5 + 2.364624 * 0.7559289), abs=1e-5)
    low, high = wilson(0.9, 100)  # Brown, Cai & DasGupta 2001
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062047362), (10, 2.2281388520), (11, 2.2009851601), (30, 2.0422724563), (10**9, 1.9599639845)],
)
def test_student_t(degrees: int, expected: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(expected, abs=1e-8)


def test_perfect_scores_keep_an_interval() -> None:
    # Guards against "100 % ± 0" on a small task.
    estimate = mean_estimate([1.0] * 20)
    assert estimate.stderr == 0.0
    assert estimate.ci95 is not None
    assert 0.8 < estimate.ci95[0] < 0.9
    assert estimate.ci95[1] == 1.0
    clustered = mean_estimate([1.0] * 20, [str(index // 4) for index in range(20)])
    assert clustered.ci95 is not None
    assert clustered.ci95[0] < estimate.ci95[0]


@given(st.lists(st.sampled_from([0.0, 1.0, 0.3, 0.6]), min_size=2, max_size=60))
def test_singleton_clusters_are_no_clusters(values: list[float]) -> None:
    naive, clustered = mean_estimate(values), mean_estimate(values, names(len(values)))
    assert naive.value == clustered.value
    assert naive.stderr == pytest.approx(clustered.stderr, abs=1e-12)
    assert naive.ci95 == pytest.approx(clustered.ci95, abs=1e-9)


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0, 0.25]), st.sampled_from("abcdefg")), min_size=2, max_size=50
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(rows: list[tuple[float, str]], generator: random.Random) -> None:
    shuffled = rows[:]
    generator.shuffle(shuffled)
    first = mean_estimate([value for value, _ in rows], [cluster for _, cluster in rows])
    second = mean_estimate([value for value, _ in shuffled], [cluster for _, cluster in shuffled])
    assert first.value == pytest.approx(second.value)
    assert (first.stderr is None) == (second.stderr is None)
    if first.stderr is not None and first.stderr > 1e-9:
        assert first.stderr == pytest.approx(second.stderr)
        assert first.ci95 == pytest.approx(second.ci95)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_intervals_hold_the_value_and_stay_in_range(values: list[float], generator: random.Random) -> None:
    clusters = [generator.choice("abcd") for _ in values]
    for estimate in (mean_estimate(values), mean_estimate(values, clusters)):
        if estimate.ci95 is not None:
            assert 0 <= estimate.ci95[0] <= estimate.value <= estimate.ci95[1] <= 1


def clustered_answers(generator: random.Random, clusters: int, share: float) -> tuple[list[float], list[str]]:
    """Four answers per cluster, half of which repeat the cluster's first."""
    values: list[float] = []
    for _ in range(clusters):
        first = float(generator.random() < share)
        values += [first, first, float(generator.random() < share), float(generator.random() < share)]
    return values, [str(index // 4) for index in range(4 * clusters)]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("clusters", [20, 80])
def test_coverage_of_clustered_accuracy(share: float, clusters: int) -> None:
    generator = random.Random(f"{share} {clusters}")
    hits = naive = 0
    for _ in range(600):
        values, groups = clustered_answers(generator, clusters, share)
        interval, ignoring = mean_estimate(values, groups).ci95, mean_estimate(values).ci95
        assert interval is not None
        assert ignoring is not None
        hits += interval[0] <= share <= interval[1]
        naive += ignoring[0] <= share <= ignoring[1]
    assert 0.92 <= hits / 600 <= 0.985
    assert naive < hits  # ignoring the clusters promises too much


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_coverage_of_independent_accuracy(share: float) -> None:
    generator = random.Random(7)
    hits = 0
    for _ in range(2000):
        interval = mean_estimate([float(generator.random() < share) for _ in range(60)]).ci95
        assert interval is not None
        hits += interval[0] <= share <= interval[1]
    assert 0.92 <= hits / 2000 <= 0.98


# --- bootstrap -------------------------------------------------------------------------------------------------


def test_bootstrap_of_a_mean_is_close_to_the_formula() -> None:
    values, clusters = clustered_answers(random.Random(3), 100, 0.7)
    analytic = mean_estimate(values, clusters)
    resampled = bootstrap_estimate(mean, values, clusters, seed=1, resamples=2000)
    assert resampled.value == analytic.value
    assert resampled.stderr == pytest.approx(analytic.stderr, rel=0.08)
    assert resampled.ci95 == pytest.approx(analytic.ci95, abs=0.01)


@pytest.mark.parametrize(("statistic", "power"), [(mean, 0), (math.fsum, 1)])
def test_large_tasks_draw_less_and_estimate_the_same(statistic: object, power: int) -> None:
    # Guards the scaling of m-out-of-n resamples, for means and for sums.
    assert callable(statistic)
    generator = random.Random(4)
    values = [float(generator.random() < 0.7) for _ in range(40_000)]
    resampled = bootstrap_estimate(statistic, values, names(40_000), seed=1)
    assert effort(40_000).share == 0.25
    analytic = mean_estimate(values).stderr
    assert analytic is not None
    assert resampled.stderr == pytest.approx(analytic * 40_000**power, rel=0.2)


def test_bootstrap_is_deterministic_and_its_seed_matters() -> None:
    values, clusters = clustered_answers(random.Random(5), 30, 0.6)
    first = bootstrap_estimate(mean, values, clusters, seed=1, resamples=300)
    assert first == bootstrap_estimate(mean, values, clusters, seed=1, resamples=300)
    assert first != bootstrap_estimate(mean, values, clusters, seed=2, resamples=300)


def test_bootstrap_has_no_interval_where_nothing_varies() -> None:
    constant = bootstrap_estimate(mean, [0.1] * 9, names(9))  # whose deviation rounding makes 1e-17
    assert (constant.stderr, constant.ci95) == (0.0, None)
    assert bootstrap_estimate(mean, [0.5], ["a"]) == Estimate(0.5, None, None)


def test_bootstrap_draws_whole_clusters_and_tells_their_copies_apart() -> None:
    seen: set[int] = set()

    def statistic(rows: Sequence[tuple[str, int]]) -> dict[str, float]:
        seen.update(number for _, number in rows)
        assert len(rows) == 2 * len(set(rows)) or len(set(rows)) == len(rows)
        per_draw: dict[int, list[str]] = {}
        for name, number in rows:
            per_draw.setdefault(number, []).append(name)
        assert all(sorted(drawn).count("a1") == sorted(drawn).count("a2") for drawn in per_draw.values())
        return {"size": float(len(rows))}

    rows = [("a1", 0), ("b1", 0), ("a2", 0), ("b2", 0), ("c1", 0), ("c2", 0)]
    clusters = ["a", "b", "a", "b", "c", "c"]
    bootstrap_estimates(statistic, rows, clusters, resamples=100, copy=lambda row, number: (row[0], number))
    assert seen == {0, 1, 2}


def test_effort_is_bounded_and_depends_on_size_alone() -> None:
    for rows in (0, 1, 100, 5_000, 10_000, 1_000_000, 10**9):
        chosen = effort(rows)
        assert 100 <= chosen.resamples <= 1000
        assert chosen.resamples * chosen.share * rows <= 1_000_001


# --- metrics ---------------------------------------------------------------------------------------------------


def mme_rows(generator: random.Random, images: int, right: float) -> list[ScoredSample]:
    metric = build_metric("mme")
    rows = []
    for image in range(images):
        media = (Media("image", path=f"/{image}.png"),)
        lucky = generator.random() < right
        for number in range(2):
            sample = Sample(
                f"{image}/{number}", "?", images=media, answers=("Yes",), metadata={"category": "count"}
            )
            text = "Yes" if lucky or generator.random() < 0.2 else "No"
            rows.append(ScoredSample(sample, text, metric.score(sample, text)))
    return rows


def test_estimates_of_a_metric() -> None:
    metric = build_metric("mme")
    rows = mme_rows(random.Random(1), 80, 0.7)
    clusters = cluster_ids(rows)
    estimates = estimate_metrics(metric, rows, clusters)
    assert {name: estimate.value for name, estimate in estimates.items()} == metric.aggregate(rows)
    assert list(estimates) == list(metric.info.units)
    plus = estimates["accuracy_plus"]
    images = [float(rows[index].score.scores["accuracy"] + rows[index + 1].score.scores["accuracy"] == 2)
              for index in range(0, len(rows), 2)]  # fmt: skip
    assert plus.stderr == pytest.approx(mean_estimate(images).stderr, rel=0.1)
    assert plus.stderr is not None
    assert estimates["accuracy"] == mean_estimate([row.score.scores["accuracy"] for row in rows], clusters)
    assert estimates["score"].stderr == pytest.approx(
        100 * (plus.stderr + (estimates["accuracy"].stderr or 0)), rel=0.15
    )  # the two are strongly correlated here
    assert estimate_metrics(metric, rows, clusters) == estimates
    assert estimate_metrics(metric, [], []) == {}


def test_coverage_of_bootstrapped_accuracy_plus() -> None:
    # Guards against merging the copies of an image that was drawn twice: coverage fell to 87 %.
    metric = build_metric("mme")
    generator = random.Random(11)
    truth = 0.7 + 0.3 * 0.2**2
    hits = 0
    for _ in range(150):
        rows = mme_rows(generator, 40, 0.7)
        interval = bootstrap_estimates(
            metric.aggregate,
            rows,
            cluster_ids(rows),
            resamples=200,
            copy=lambda row, number: dataclasses.replace(row, repeat=number),
        )["accuracy_plus"].ci95
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert 0.91 <= hits / 150 <= 0.99


def test_a_perfect_metric_gets_wilson_s_interval_in_points_too() -> None:
    metric = build_metric("mme")
    rows = mme_rows(random.Random(1), 30, 1.0)
    estimates = estimate_metrics(metric, rows, cluster_ids(rows))
    assert estimates["accuracy_plus"].ci95 == pytest.approx(wilson(1.0, 30))
    assert estimates["score"].ci95 == pytest.approx((200 * wilson(1.0, 30)[0], 200.0))


class Sum:
    """A metric of somebody else: right answers are added up, and how long they were is averaged."""

    info = MetricInfo(
        "sum", "own", 1, "right", {"right": "questions", "length": "letters"}, {"length": "length"}
    )

    def score(self, _sample: Sample, prediction: str) -> Score:
        return Score({"right": float(prediction == "x"), "length": float(len(prediction))})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        right = sum(row.score.scores["right"] for row in rows)
        return {"right": right, "length": sum(row.score.scores["length"] for row in rows) / len(rows)}


FLAT: dict[str, tuple[dict[str, JSON], str, str]] = {
    "mme": ({"official_categories": True}, "Yes", "No"),
    "yes_no": ({}, "Yes", "No"),
    "ocrbench": ({}, "Yes", "No"),
    "hallusionbench": ({}, "Yes", "No"),
    "exact_match": ({}, "Yes", "No"),
    "mmstar": ({}, "Yes", "No"),
    "relaxed_accuracy": ({}, "Yes", "No"),
    "captions": ({"scores": ["cider", "bleu"]}, "Yes", "No"),
}


@pytest.mark.parametrize("name", [*FLAT, "sum"])
@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("clusters_of", [1, 2, 4])
def test_no_interval_has_width_zero(name: str, right: bool, clusters_of: int) -> None:
    # Guards against "600.0 – 600.0": that everything came out alike 40 times says little about the next time.
    params, good, bad = FLAT.get(name, ({}, "x", "long answer"))
    metric: Metric = Sum() if name == "sum" else build_metric(name, params)
    rows = []
    for number in range(40):
        category = ("existence", "count", "code_reasoning")[number // 2 % 3]
        sample = Sample(
            str(number),
            "?",
            images=(Media("image", path=f"/{number // clusters_of}.png"),),
            answers=(good,),
            metadata={
                "category": category,
                "set_id": number,
                "figure_id": "1",
                "question_id": "0",
                "question_type": "Regular Text Recognition",
            },
        )
        rows.append(ScoredSample(sample, "", metric.score(sample, good if right else bad)))
    if isinstance(metric, CorpusMetric):
        rows = [dataclasses.replace(row, prediction=good if right else bad) for row in rows]
        scored = metric.score_corpus(rows)
        rows = [dataclasses.replace(row, score=score) for row, score in zip(rows, scored, strict=True)]
    estimates = estimate_metrics(metric, rows, cluster_ids(rows))
    for aggregate, estimate in estimates.items():
        if estimate.ci95 is not None:
            low, high = estimate.ci95
            assert low <= estimate.value <= high
            assert high - low > 0.01, aggregate
        else:  # no range is known: the mean of lengths that are all alike
            assert (name, aggregate) == ("sum", "length")


def test_the_width_of_a_flat_interval_knows_what_counts() -> None:
    # A recall of 10 of 10 is no surer for 990 questions where no is right.
    metric = build_metric("yes_no")
    samples = [Sample(str(number), "?", answers=("yes" if number < 10 else "no",)) for number in range(400)]
    rows = [ScoredSample(sample, "", metric.score(sample, sample.answer)) for sample in samples]
    estimates = estimate_metrics(metric, rows, cluster_ids(rows))
    assert estimates["accuracy"].ci95 == wilson(1.0, 400)
    recall = estimates["recall"].ci95
    assert recall is not None
    assert recall[0] < 0.8


def test_flat_points_cover_the_truth() -> None:
    # Where all is right, the bound excludes only truths that make all right less likely than 2.5 %, or so.
    metric = build_metric("mme")
    rows = mme_rows(random.Random(1), 25, 1.0)
    interval = estimate_metrics(metric, rows, cluster_ids(rows))["score"].ci95
    assert interval is not None
    assert 0.01 < (interval[0] / 200) ** 25 < 0.04


def test_clusters_that_balance_exactly_are_not_endless_evidence() -> None:
    # Residuals of 1/3 add up to 1e-17, not to 0: the effective size was 1e30 and the interval a point.
    values = [1.0, 0.0, 0.0] * 20
    interval = mean_estimate(values, [str(number // 3) for number in range(60)]).ci95
    assert interval is not None
    assert interval[1] - interval[0] > 0.2


def test_the_mean_of_a_group_keeps_an_interval() -> None:
    def task(value: float, low: float, high: float) -> TaskResults:
        score = MetricResult(value, 0.0, (low, high), "0-1", 20)
        return TaskResults(
            1, "exact_match", "muster", 1, "accuracy", SampleCounts(20, 20, 0), {"accuracy": score}
        )

    tasks = {"a": task(1.0, 0.84, 1.0), "b": task(1.0, 0.88, 1.0), "c": task(0.5, 0.2, 0.9)}
    mean = group_results(tasks, {"all": ["a", "b"], "mixed": ["a", "c"]})
    assert mean["all"].metrics["macro_mean"].ci95 == pytest.approx((0.9, 1.0))  # 1 - sqrt(0.16² + 0.12²) / 2
    assert mean["mixed"].metrics["macro_mean"].ci95 == pytest.approx((0.75 - 0.17, 0.75 + 0.2))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["muster", "lmms-eval", "internvl", "vlmevalkit"]),
    st.integers(1, 30),
    st.integers(0, 2**32),
)
def test_statistics_never_change_a_value(variant: str, count: int, seed: int) -> None:
    metric = build_metric("yes_no", variant=variant)
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        sample = Sample(str(index), "?", answers=(generator.choice(["yes", "no"]),))
        text = generator.choice(["yes", "no", "hm"])
        rows.append(ScoredSample(sample, text, metric.score(sample, text)))
    estimates = estimate_metrics(metric, rows, cluster_ids(rows))
    assert {name: estimate.value for name, estimate in estimates.items()} == metric.aggregate(rows)
    for name, estimate in estimates.items():
        if estimate.ci95 is not None and metric.info.units[name] == "0-1":
            assert 0 <= estimate.ci95[0] <= estimate.value <= estimate.ci95[1] <= 1


# --- clusters --------------------------------------------------------------------------------------------------


def row(
    sample_id: str, images: str = "", repeat: int = 0, metadata: dict[str, JSON] | None = None
) -> ScoredSample:
    metric = build_metric("exact_match")
    media = tuple(Media("image", data=image.encode()) for image in images)
    sample = Sample(sample_id, "?", images=media, metadata=metadata or {})
    return ScoredSample(sample, "", metric.score(sample, ""), repeat)


def test_clusters_by_shared_media() -> None:
    # c joins a's image with d's; e stands alone; f and g have no image, and f was asked twice.
    rows = [
        row("a", "x"),
        row("d", "y"),
        row("e", "z"),
        row("c", "xy"),
        row("f"),
        row("g"),
        row("f", repeat=1),
    ]
    ids = cluster_ids(rows)
    assert ids[0] == ids[1] == ids[3]
    assert ids[4] == ids[6]
    assert len(set(ids)) == 4


def test_clusters_by_metadata() -> None:
    rows = [
        row("a", "x", metadata={"video": 7}),
        row("b", "y", metadata={"video": 7}),
        row("c", "x"),
        row("video:7"),
        row("c", "x", repeat=1),
    ]
    ids = cluster_ids(rows, "video")
    assert ids[0] == ids[1]
    assert ids[2] == ids[4]
    assert len(set(ids)) == 3
