"""Scores and totals of the newer benchmarks against the authors' and toolkits' own code, with ==.

Guards against a score that differs from the one that reports print. `golden/reports/NAME.jsonl` was made by running
that code on made-up answers: first the samples (and what they have in
common) and whose code it was, then `[sample, answer, {variant: score}]`, and
last, where that code adds up, its totals over all of these answers: a number, `[factor, number]` where it prints a
multiple of ours, or the text that it prints, a percentage of two digits.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from muster.core import Sample
from muster.metrics.protocol import ScoredSample
from muster.metrics.registry import build_metric

RECORDED = sorted((Path(__file__).parent / "golden" / "reports").glob("*.jsonl"))
AT_LEAST = 200
"""Answers per metric and variant."""


def sample_of(number: int, given: dict[str, Any]) -> Sample:
    answers = given.get("answer", [])
    return Sample(
        given.get("id", str(number)),
        given.get("question", "?"),
        choices=tuple(given.get("choices", ())),
        answers=tuple(answers) if isinstance(answers, list) else (answers,),
        metadata=given.get("metadata", {}),
    )


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_scores_are_those_of_the_reference(file: Path) -> None:
    head, *lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    totals = lines.pop()["totals"] if isinstance(lines[-1], dict) else {}
    samples = [
        sample_of(number, head.get("common", {}) | each) for number, each in enumerate(head["samples"])
    ]
    for variant in head["reference"]:
        metric = build_metric(head["metric"], head.get("params"), variant)
        primary = next(iter(metric.info.means.values()))
        rows: list[ScoredSample] = []
        repeats = Counter[int]()
        for number, text, expected in lines:
            if variant not in expected:
                continue
            got = metric.score(samples[number], text)
            wanted = expected[variant]
            wanted = wanted if isinstance(wanted, dict) else {primary: wanted}
            assert {name: got.scores[name] for name in wanted} == wanted, (
                variant,
                samples[number],
                text,
                got,
            )
            rows.append(ScoredSample(samples[number], "", got, repeat=repeats[number]))
            repeats[number] += 1
        assert len(rows) >= AT_LEAST
        values = metric.aggregate(rows)
        for name, wanted in totals.get(variant, {}).items():
            if isinstance(wanted, str):
                assert f"{values[name]:.2%}" == wanted, (variant, name)
                continue
            factor, number = wanted if isinstance(wanted, list) else (1, wanted)
            assert values[name] * factor == number, (variant, name)
