"""benchmarks/parity without a toolkit: what is kept, and what counts as the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parity import pairs
from benchmarks.parity.bench import Bench
from benchmarks.parity.kept import Kept, rows
from benchmarks.parity.ours import Compared
from benchmarks.parity.pairs import LAST_BIT, LMMS_EVAL, VLMEVALKIT, Pair
from benchmarks.parity.replay import replay, verdict
from benchmarks.parity.tasks import LMMS_EVAL as TASKS
from muster.tasks.registry import load_tasks
from muster.tasks.scoring_variants import scored_by

WAYS = ("1 replica", "4 replicas")


def kept(name: str, theirs: dict[str, float], *mine: dict[str, float]) -> Kept:
    here = {way: {name: scores} for way, scores in zip(WAYS, mine, strict=True)}
    return Kept(name, {name: {"0": "A"}}, {name: theirs}, here)


def test_what_is_kept_is_not_compared_again(tmp_path: Path) -> None:
    nobody = Bench("lmms-eval", Path("/nowhere/python"), None, tmp_path, "")  # it would fail to start
    done = [kept("mme", {"score": 0.1 + 0.2}, {"score": 0.3}, {"score": 0.1 + 0.2}), Kept("gqa", why="fails")]
    for each in done:
        each.save(tmp_path)
    assert replay(nobody, ["mme", "gqa"], tmp_path) == done
    with pytest.raises(FileNotFoundError):
        replay(nobody, ["mme", "pope", "gqa"], tmp_path)
    assert Kept.load(tmp_path, "pope") is None
    assert Kept.load(tmp_path, "mme") == done[0]


def test_a_difference_in_the_last_bit_is_told() -> None:
    [row] = rows(kept("mme", {"score": 0.1 + 0.2}, {"score": 0.3}, {"score": 0.1 + 0.2}))
    assert verdict(row) == "**differs** (1 replica)"
    [row] = rows(kept("mme", {"score": 0.3}, {"score": 0.3}, {"score": 0.3}))
    assert verdict(row) == "=="
    [row] = rows(kept("mme", {"score": 0.3}, {"score": 0.3}, {"score": 0.3, "more": 1.0}))
    assert verdict(row) == "**differs** (4 replicas)"
    [row] = rows(kept("mme", {}, {}, {}))
    assert verdict(row) == "no number on either side"
    [row] = rows(kept("mme", {}, {}, {"score": 0.3}))
    assert verdict(row) == "**differs** (4 replicas)"


@pytest.mark.parametrize(
    ("theirs", "ours", "why", "guessed", "explained"),
    [
        (0.3, 0.3, {}, None, True),
        (30.0, 0.3, {}, None, True),
        (0.3, 0.4, {}, None, False),
        (0.3, None, {}, None, False),
        (0.3, 0.4, {"a": "a judge is asked"}, None, True),
        (0.3, 0.3, {"a": "a judge is asked"}, None, False),  # no longer: a reason hides nothing
        (30.000000000000004, 0.3, {"a": f"{LAST_BIT}: order"}, None, True),
        (30.1, 0.3, {"a": f"{LAST_BIT}: order"}, None, False),
        (0.3, 0.4, {}, 0.1, False),
        (0.3, 0.4, {}, 0.2, True),
    ],
)
def test_a_difference_needs_a_reason(
    theirs: float, ours: float | None, why: dict[str, str], guessed: float | None, explained: bool
) -> None:
    pair = Pair("theirs", "ours", {"a": "b"}, why=why, guesses=guessed is not None)
    assert Compared(pair, {"a": theirs}, {"a": ours}, 0, guessed or 0.0).explained is explained


@pytest.mark.parametrize("toolkit", ["lmms-eval", "vlmevalkit"])
def test_every_pair_names_a_task_of_ours_with_the_toolkits_variant(toolkit: str) -> None:
    those = {"lmms-eval": LMMS_EVAL, "vlmevalkit": VLMEVALKIT}[toolkit]
    for pair in those:
        [task] = load_tasks([pair.task])
        scored = (
            scored_by(task, [toolkit]) if task.metric.info.name != "captions" else task
        )  # those need Java
        if not pair.metric:
            names = {name.partition(" of ")[0] for name in pair.scores.values()}
            assert names <= set(scored.metric.info.units), pair.dataset
    if toolkit == "lmms-eval":
        assert {pair.dataset for pair in those} <= set(TASKS)
        assert set(pairs._GUESSING) <= {pair.dataset for pair in those}
