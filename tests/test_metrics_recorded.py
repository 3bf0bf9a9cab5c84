"""Scores and totals of the newer benchmarks against the authors' and toolkits' own code, with ==.

Guards against a score that differs from the one that reports print. `golden/reports/NAME.jsonl` was made by running
that code on made-up answers: first the samples (and what they have in common) and whose code it was, then `[sample,
answer, {variant: score}]`, with a judge's verdict behind it where that code asks one, and last, where it adds up, its
totals over all of these answers: a number, `[factor, number]` where it prints a multiple of ours, or the text that it
prints, a percentage of two digits. `asked` is what that code shows the judge of the answer.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from muster.core import Sample
from muster.metrics.protocol import ScoredSample, is_judged
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
        for number, text, expected, *verdict in lines:
            if variant not in expected:
                continue
            wanted = expected[variant]
            asked = wanted.pop("asked", None) if isinstance(wanted, dict) else None
            if verdict and is_judged(metric) and metric.judge_prompt is not None:
                inquiry = metric.inquiry(samples[number], text)
                assert inquiry is not None
                assert asked is None or (inquiry.places or {})["prediction"] == asked, text
                got = metric.score_verdict(samples[number], verdict[0])
            else:
                got = metric.score(samples[number], text)
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
