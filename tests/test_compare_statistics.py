"""The statistics of comparisons: equal to scipy's and statsmodels' where they have them, and right in simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from muster.compare.paired_interval import paired_estimate
from muster.compare.paired_tests import binomial_cdf_half, holm, mcnemar_exact, sign_flip_test
from muster.compare.power import chances, normal_chances, pairs_needed, smallest_detectable
from muster.results.quantiles import t_cdf, t_quantile

Differences = NDArray[np.float64]


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (0, 1), (1, 5), (7, 7), (3, 19), (480, 520), (900, 1200), (24_000, 25_000)]
)
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("successes", "trials"), [(-1, 5), (5, 5), (500, 1001), (2000, 4200), (24_900, 50_000)]
)
def test_the_binomial_distribution_is_scipys(successes: int, trials: int) -> None:
    expected = stats.binom.cdf(successes, trials, 0.5)
    assert binomial_cdf_half(successes, trials) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_sign_flips_are_scipys_permutation_test(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (
        random.choice([0.0, 0.1, -0.3, 0.6, -0.9], size=11) if seed % 2 else random.normal(0.3, 1, size=11)
    )
    expected = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_test(values).p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_sums_on_a_lattice_are_exact_for_any_number() -> None:
    """The exact distribution of many tenths, against all sign assignments of few and the normal limit of many."""
    random = np.random.default_rng(7)
    few = random.choice([0.1, -0.2, 0.3, 0.6], size=20)
    sums = np.array([sum(signs) for signs in itertools.product(*((v, -v) for v in few[:16]))])
    assert sign_flip_test(few[:16]).p_value == pytest.approx(
        float((np.abs(sums) >= abs(few[:16].sum()) - 1e-9).mean()), rel=1e-9
    )
    many = random.choice([0.0, 0.1, -0.1, 0.3, -0.3, 1.0, -1.0], size=40_000)
    found = sign_flip_test(many)
    limit = 2 * stats.norm.sf(abs(many.sum()) / math.sqrt((many**2).sum()))
    assert found.method == "exact sign-flip"
    assert found.p_value == pytest.approx(limit, abs=2e-3)


def test_scores_without_a_common_unit_are_sampled_with_a_fixed_seed() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, size=300)
    first, second = sign_flip_test(values), sign_flip_test(values)
    assert first == second
    assert first.method == "sign-flip, sampled"
    assert first.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)


def test_nothing_differs() -> None:
    assert sign_flip_test(np.zeros(50)) == (1.0, "nothing differs")


def test_holm_is_statsmodels() -> None:
    # statsmodels 0.15.0, multipletests(…, method="holm")[1]
    assert holm([0.01, 0.04, 0.03, 0.005, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9], rel=1e-12)
    assert holm([]) == []


@pytest.mark.parametrize("degrees", [1, 1.7, 4, 9.3, 30, 250, 49_999])
@pytest.mark.parametrize("probability", [0.6, 0.975, 0.995])
def test_students_t_is_scipys(degrees: float, probability: float) -> None:
    quantile = t_quantile(probability, degrees)
    # scipy 1.11's own quantiles hold to eight digits
    assert quantile == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-8)
    assert t_cdf(-quantile, degrees) == pytest.approx(1 - probability, rel=1e-9)


def test_independent_scores_have_the_paired_t_interval() -> None:
    random = np.random.default_rng(5)
    first, second = random.normal(0, 1, 40), random.normal(0.3, 1, 40)
    expected = stats.ttest_rel(second, first).confidence_interval(0.95)
    estimate = paired_estimate(second - first)
    assert estimate.interval == pytest.approx((expected.low, expected.high), rel=1e-8)
    assert estimate.effective == pytest.approx(40)


def test_right_and_wrong_have_bonett_and_prices_interval() -> None:
    """Their formula, by hand: 10 better and 3 worse of 60."""
    estimate = paired_estimate(np.array([1.0] * 10 + [-1.0] * 3 + [0.0] * 47))
    up, down = 11 / 62, 4 / 62
    margin = 1.959963984540054 * math.sqrt((up + down - (up - down) ** 2) / 62)
    assert estimate.interval == pytest.approx((up - down - margin, up - down + margin), rel=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("pairs", [2, 5, 40, 1000])
def test_no_interval_has_width_zero(value: float, pairs: int) -> None:
    for clusters in (None, np.arange(pairs) // 2 if pairs > 2 else None):
        estimate = paired_estimate(np.full(pairs, value), clusters)
        assert estimate.interval is not None
        low, high = estimate.interval
        assert low < high
        assert low <= value <= high or abs(value) == 1.0


def test_clusters_of_equal_samples_count_once() -> None:
    """Eighteen questions about one image, all answered alike, tell no more than one."""
    random = np.random.default_rng(11)
    each = random.normal(0.1, 1, size=50)
    once = paired_estimate(each)
    often = paired_estimate(np.repeat(each, 18), np.repeat(np.arange(50), 18))
    assert often.interval == pytest.approx(once.interval, rel=1e-9)
    assert often.effective == pytest.approx(50, rel=0.03)


def _covered(draw: object, truth: float, runs: int) -> float:
    hits = 0
    for _ in range(runs):
        differences, clusters = draw()  # type: ignore[operator]
        interval = paired_estimate(differences, clusters).interval
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    return hits / runs


def test_intervals_cover_what_they_say() -> None:
    random = np.random.default_rng(2)

    def answers(count: int, better: float, worse: float) -> Differences:
        return random.choice([1.0, -1.0, 0.0], p=[better, worse, 1 - better - worse], size=count)

    def clustered() -> tuple[Differences, NDArray[np.int64]]:
        clusters = np.repeat(np.arange(80), random.integers(1, 8, size=80))
        shared = answers(80, 0.15, 0.1)[clusters]
        return np.where(
            random.random(clusters.size) < 0.5, shared, answers(clusters.size, 0.15, 0.1)
        ), clusters

    assert 0.925 <= _covered(lambda: (answers(100, 0.15, 0.05), None), 0.1, 700) <= 0.98
    assert 0.925 <= _covered(lambda: (answers(400, 0.1, 0.1), None), 0.0, 700) <= 0.975
    assert 0.925 <= _covered(clustered, 0.05, 700) <= 0.98
    assert 0.925 <= _covered(lambda: (random.normal(0.1, 1, 30), None), 0.1, 700) <= 0.975


def test_a_false_alarm_is_as_rare_as_promised_with_clusters_too() -> None:
    random = np.random.default_rng(4)
    alarms = 0
    for _ in range(700):
        shared = random.choice([1.0, -1.0, 0.0], p=[0.15, 0.15, 0.7], size=60)
        sums = shared * random.integers(1, 6, size=60).astype(np.float64)
        alarms += sign_flip_test(sums).p_value <= 0.05
    assert alarms / 700 <= 0.065


def test_the_chances_are_what_happens() -> None:
    random = np.random.default_rng(6)
    promised = chances(400, 0.08, 0.08, 0.03)
    holds = broken = 0
    for _ in range(1500):
        interval = paired_estimate(random.choice([1.0, -1.0, 0.0], p=[0.08, 0.08, 0.84], size=400)).interval
        assert interval is not None
        holds += interval[0] > -0.03
        broken += interval[1] < -0.03
    assert holds / 1500 == pytest.approx(promised.holds, abs=0.035)
    assert broken / 1500 == pytest.approx(promised.broken, abs=0.01)
    assert sum(promised) == pytest.approx(1)


def test_how_many_pairs_are_needed() -> None:
    needed = pairs_needed(0.05, 0.05, 0.02)
    assert needed is not None
    assert chances(needed, 0.05, 0.05, 0.02).holds >= 0.8
    assert chances(needed * 0.9, 0.05, 0.05, 0.02).holds < 0.8
    assert pairs_needed(0.02, 0.06, 0.03) is None


def test_the_smallest_detectable_difference_is_found_four_times_in_five() -> None:
    random = np.random.default_rng(8)
    smallest = smallest_detectable(paired_estimate(random.normal(0, 1, 5000)))
    assert smallest is not None
    found = sum(stats.ttest_1samp(random.normal(smallest, 1, 5000), 0).pvalue < 0.05 for _ in range(400))
    assert found / 400 == pytest.approx(0.8, abs=0.07)
    assert normal_chances(0.01, 0.0, 0.028).holds == pytest.approx(0.8, abs=0.01)
