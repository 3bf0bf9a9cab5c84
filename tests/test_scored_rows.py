"""Scored answers in little room: a metric must see the same rows, whole and by category."""

from __future__ import annotations

from muster.core import Sample
from muster.metrics.averages import score_values
from muster.metrics.protocol import Score, ScoredSample
from muster.results.scored_rows import ScoredRows
from muster.scheduling.claims import Item, Items
from muster.tasks.samples import Samples


def rows(count: int) -> list[ScoredSample]:
    return [
        ScoredSample(
            Sample(f"q{n}", "what?", choices=("a", "b"), answers=("A",), metadata={"kind": n % 3}),
            "",
            Score({"accuracy": float(n % 2)}, extracted="AB"[n % 2]),
            repeat=n % 4,
        )
        for n in range(count)
    ]


def held_in_columns(expected: list[ScoredSample]) -> ScoredRows:
    held = ScoredRows(Samples(row.sample for row in expected))
    for number, row in enumerate(expected):
        held.append(number, row.repeat, row.score)
    return held


def test_rows_are_what_was_added_without_their_texts() -> None:
    expected = rows(20)
    held = held_in_columns(expected)
    assert list(held) == expected
    assert [held[number] for number in range(-3, 5)] == [expected[number] for number in range(-3, 5)]
    assert held[2:9:2] == expected[2:9:2]
    assert held[0].score is held[2].score  # equal ones are one


def test_some_rows() -> None:
    expected = rows(20)
    some = held_in_columns(expected).chosen([3, 5, 19])
    assert list(some) == [expected[3], expected[5], expected[19]] == some[:]
    assert (len(some), some[-1]) == (3, expected[19])


def test_what_is_asked_of_all_rows_is_what_the_rows_say() -> None:
    expected = rows(20)
    held = held_in_columns(expected)
    assert held.score_values("accuracy") == [row.score.scores["accuracy"] for row in expected]
    assert score_values(held, "accuracy") == score_values(expected, "accuracy")


def test_items_as_columns() -> None:
    items = [Item(1.5, 2, "a.png"), Item(0.1), Item(7.0, 1, "b.png", after=0)]
    held = Items(items)
    assert list(held) == items == held[:]
    assert held[-1] == items[2]
    assert dict(held.after) == {2: 0}
