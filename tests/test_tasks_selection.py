"""`--limit` and `--sample-ids`: what a partial run takes must be exactly what was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muster.core import ConfigurationError, Sample
from muster.tasks.selection import parse_limit, select, select_tasks


def numbered(count: int) -> list[Sample]:
    return [Sample(str(i), f"q{i}") for i in range(count)]


def ids(samples: Iterable[Sample]) -> list[str]:
    return [sample.id for sample in samples]


@pytest.mark.parametrize(
    ("limit", "taken"),
    [(None, 10), (1, 1), (3, 3), (99, 10), (4.0, 4), (1.0, 10), (0.1, 1), (0.11, 2), (0.3, 3), (1e-9, 1)],
)
def test_how_many_a_limit_takes(limit: float | None, taken: int) -> None:
    assert ids(select(numbered(10), limit)) == ids(numbered(taken))


@given(st.integers(1, 99), st.integers(0, 500))
@example(7, 100)
def test_a_fraction_is_exact_and_rounded_up(percent: int, count: int) -> None:
    """0.07 * 100 is 7.000000000000001 in binary, and must not take 8."""
    assert len(select(numbered(count), percent / 100)) == math.ceil(Fraction(percent, 100) * count)


@pytest.mark.parametrize("limit", [0, -1, 0.0, -0.5, 1.5, math.nan, math.inf])
def test_limits_that_mean_nothing(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="give a number of samples"):
        select(numbered(3), limit)


def test_limits_as_typed() -> None:
    assert [parse_limit(text) for text in ("1", "100", "0.1", "1.0")] == [1, 100, 0.1, 1.0]
    assert isinstance(parse_limit("1"), int)
    assert isinstance(parse_limit("1.0"), float)
    for text in ("ten", "0", "-3", "1.5", "nan"):
        with pytest.raises(ConfigurationError, match="limit"):
            parse_limit(text)


def test_ids_keep_the_benchmarks_order_and_the_limit_counts_among_them() -> None:
    assert ids(select(numbered(10), None, ["7", "2", "2", "nowhere"])) == ["2", "7"]
    assert ids(select(numbered(10), 1, ["7", "2"])) == ["2"]
    assert select(numbered(10), None, []) == []


def test_several_tasks_each_on_its_own() -> None:
    tasks = {"a": numbered(10), "b": numbered(4)}
    assert {name: len(taken) for name, taken in select_tasks(tasks, 0.5).items()} == {"a": 5, "b": 2}
    picked = select_tasks(tasks, None, ["2", "9", "b/0"])
    assert {name: ids(taken) for name, taken in picked.items()} == {"a": ["2", "9"], "b": ["0", "2"]}


def test_ids_with_slashes_are_themselves_first() -> None:
    tasks = {"a": [Sample("b/1", "q")], "b": [Sample("1", "q")]}
    picked = select_tasks(tasks, None, ["b/1"])
    assert {name: ids(taken) for name, taken in picked.items()} == {"a": ["b/1"], "b": ["1"]}


def test_an_id_that_no_task_has_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match=r"No sample has the id '77', 'a/x' in a, b"):
        select_tasks({"a": numbered(3), "b": numbered(3)}, None, ["1", "77", "a/x", "77"])
