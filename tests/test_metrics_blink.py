"""BLINK's headline, which differs between those who evaluate it."""

from __future__ import annotations

import pytest

from muster.core import Sample
from muster.metrics.protocol import ScoredSample
from muster.metrics.registry import build_metric

# Two tasks of different size: right are 3 of 3, and 0 of 1.
ANSWERS = [("Counting", "A"), ("Counting", "A"), ("Counting", "A"), ("Jigsaw", "B")]


@pytest.mark.parametrize(
    ("variant", "score"), [("muster", 0.75), ("official", 0.5), ("lmms-eval", 0.5), ("vlmevalkit", 0.75)]
)
def test_the_headline_is_the_mean_that_each_reports(variant: str, score: float) -> None:
    # lmms-eval's group of BLINK takes the plain mean of its tasks (`weight_by_size` is off).
    metric = build_metric("blink", variant=variant)
    samples = [
        Sample(
            f"val_{task}_{number}", "", choices=("red", "blue"), answers=("A",), metadata={"sub_task": task}
        )
        for number, (task, _answer) in enumerate(ANSWERS)
    ]
    rows = [
        ScoredSample(sample, "", metric.score(sample, f"({answer})"))
        for sample, (_task, answer) in zip(samples, ANSWERS, strict=True)
    ]
    assert metric.aggregate(rows)[metric.info.primary] == score


def test_lmms_eval_adds_the_tasks_up_by_name() -> None:
    # Their mean in the authors' order is another in the last bit.
    sizes = {"Visual_Similarity": 3, "Counting": 7, "Art_Style": 11, "Relative_Depth": 13, "Jigsaw": 9}
    metric = build_metric("blink", variant="lmms-eval")
    rows = []
    for task, size in sizes.items():
        for number in range(size):
            sample = Sample(
                f"{task}_{number}", "", choices=("a", "b"), answers=("A",), metadata={"sub_task": task}
            )
            rows.append(ScoredSample(sample, "", metric.score(sample, "(A)" if number < 2 else "(B)")))
    assert metric.aggregate(rows)["average"] == sum(2 / sizes[task] for task in sorted(sizes)) / len(sizes)
