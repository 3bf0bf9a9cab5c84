"""Metrics by name: what is refused before a run starts, and the promises every built metric keeps."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, Media, Sample
from muster.metrics.averages import mean_score
from muster.metrics.letter_choice import LetterChoice
from muster.metrics.protocol import Metric, MetricInfo, Score, ScoredSample, UnscoredError, is_judged
from muster.metrics.references import followed
from muster.metrics.registry import build_metric, metric_names, metric_variants

EVERY = [
    (name, variant)
    for name in metric_names()
    for variant in metric_variants(name)
    if name != "captions"  # its answers are scored together: test_metrics_captions.py
]
PARAMETERS: dict[str, dict[str, JSON]] = {"mathvista": {"empty_without_judge": True}}
UNBOUNDED = {
    ("grounding", "internvl", "iou"),  # areas of boxes whose edges are swapped are negative there
    *(("ccocr", "official", name) for name in ("right", "of_truth", "of_answer")),  # words, counted
}
JUDGED_ENTIRELY = {"charxiv", "llava_bench", "mmlongbench_doc", "mmvet"}
VERDICTS = {
    "llava_bench": "1 1",
    "mmvet": "0.5",
    "charxiv": '{"extracted_answer": "x", "score": 0}',
    "simplevqa": "B",
    "mmlongbench_doc": "Extracted answer: x",
    **dict.fromkeys(("babyvision", "judged_match", "mathverse", "mmvu"), "false"),
}


def needs_options(metric: Metric) -> bool:
    """Whether it leaves answers unscored where the options only stand in the question."""
    return isinstance(metric, LetterChoice) and metric.conventions[metric.info.variant].needs_options


class Length:
    """A third-party metric without variants."""

    def __init__(self, unit: Literal["characters", "words"], scale: float = 1.0) -> None:
        self.unit, self.scale = unit, scale
        self.info = MetricInfo("length", "muster", 1, "length", {"length": unit}, {"length": "length"})

    def score(self, sample: Sample, prediction: str) -> Score:
        return Score({"length": len(prediction) * self.scale})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        return {"length": mean_score(rows, "length")}


def test_names_and_defaults() -> None:
    assert metric_variants("multiple_choice") == ["muster", "lmms-eval", "vlmevalkit", "internvl"]
    for name in metric_names():
        metric = build_metric(name)
        assert (metric.info.name, metric.info.variant) == (name, metric_variants(name)[0])


@pytest.mark.parametrize(
    ("name", "params", "variant", "message"),
    [
        ("mulitple_choice", {}, None, "did you mean 'multiple_choice'"),
        ("mme", {}, "lmms_eval", "did you mean 'lmms-eval'"),
        ("mme", {"groups": "x"}, None, "did you mean 'group'"),
        ("mme", {"official_categories": "yes"}, None, "official_categories"),
        ("mme", {"variant": "muster"}, None, "no parameter 'variant'"),
        ("vqa_accuracy", {"benchmark": "gqa"}, None, "benchmark"),
        ("anls", {"threshold": 2.0}, None, "between 0 and 1"),
        ("exact_match", {"ignore_case": False}, "lmms-eval", "belong to the variant 'muster'"),
        ("no_such_module:Metric", {}, None, "importable"),
        ("muster.core:Nothing", {}, None, "module:Class"),
        ("muster.metrics.mme:PERCEPTION", {}, None, "not a class"),
        ("collections:Counter", {}, None, "not a metric"),
        (f"{__name__}:Length", {}, None, "needs the parameter 'unit'"),
        (f"{__name__}:Length", {"unit": "words"}, "muster", "no scoring variants"),
        (f"{__name__}:Length", {"unit": "lines"}, None, "unit"),
    ],
)
def test_refused_with_what_to_do(
    name: str, params: dict[str, bool | float | str], variant: str | None, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        build_metric(name, dict(params), variant)


def test_third_party_metric() -> None:
    metric = build_metric(f"{__name__}:Length", {"unit": "characters", "scale": 2})
    assert metric.score(Sample("1", ""), "abc").scores == {"length": 6.0}
    assert metric_variants(f"{__name__}:Length") == []


def test_exact_match_parameters() -> None:
    sample = Sample("1", "", answers=("Sept. 5", "5 Sept"))
    strict = build_metric("exact_match", {"ignore_case": False, "strip": False})
    loose = build_metric("exact_match", {"ignore_punctuation": True})
    assert [strict.score(sample, text).scores["accuracy"] for text in ("5 Sept", "5 sept", "5 Sept ")] == [
        1,
        0,
        0,
    ]
    assert [loose.score(sample, text).scores["accuracy"] for text in (" sept   5!", "5, SEPT", "5")] == [
        1,
        1,
        0,
    ]


def test_contains_ignores_blank_answers() -> None:
    metric = build_metric("contains")
    assert metric.score(Sample("1", "", answers=(" ",)), "anything").scores == {"accuracy": 0.0}
    assert metric.score(Sample("1", "", answers=("New  York",)), "in new\nyork.").scores == {"accuracy": 1.0}


TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ABCD abcd.()[]:;!?'\"*yesno,0123%-\n"),
    st.sampled_from(["", " ", "nan", "inf%", "%", "\ud800", "İ", "answer is ", "ß" * 9, "\x00", "１"]),
)
SAMPLES = st.builds(
    Sample,
    id=st.just("1"),
    question=st.just("?"),
    images=st.sampled_from([(), (Media("image", path="/a.png"),)]),
    choices=st.lists(TEXTS, max_size=30).map(tuple),
    answers=st.lists(TEXTS, max_size=12).map(tuple),
    metadata=st.sampled_from(
        [
            {},
            {"category": "count", "dataset": "HME100k"},
            {"category": None},
            {"question_type": "multi_choice", "answer_type": "text"},
            {"question_type": "open", "answer_type": "float", "precision": 1.0},
            {"answer_type": "integer", "index": "x", "bbox": [1, 2, 3, 4], "width": 5, "height": "6"},
            {"answer_type": "float", "precision": 2, "index": 3_000_001, "bbox": [1, "2"], "width": None},
        ]
    ),
)


def scored(metric: Metric, sample: Sample, text: str) -> Score:
    """By a judge's verdict, where the metric can't do without."""
    if is_judged(metric) and metric.inquiry(sample, text) is not None:
        return metric.score_verdict(sample, VERDICTS.get(metric.info.name, "Z"))
    return metric.score(sample, text)


@pytest.mark.parametrize(("name", "variant"), EVERY)
@settings(max_examples=25, deadline=None)  # for each of hundreds of variants
@given(sample=SAMPLES, text=TEXTS)
def test_no_text_raises_and_aggregates_are_as_announced(
    name: str, variant: str, sample: Sample, text: str
) -> None:
    metric = build_metric(name, PARAMETERS.get(name), variant)
    try:
        score = scored(metric, sample, text)
    except UnscoredError:
        assert needs_options(metric)
        assert not any(sample.choices)
        return
    for score_name, value in score.scores.items():
        assert isinstance(value, float)
        assert -1 <= value <= 1 or (name, variant, score_name) in UNBOUNDED
    assert scored(metric, sample, text) == score
    rows = [ScoredSample(sample, text, score), ScoredSample(sample, text, score, repeat=1)]
    assert list(metric.aggregate(rows)) == list(metric.info.units)
    assert metric.info.primary in metric.info.units
    for aggregate, per_answer in metric.info.means.items():
        mean = (score.scores[per_answer] * 2) / 2
        value = metric.aggregate(rows)[aggregate]
        if metric.info.units[aggregate] == "percent":
            assert math.isnan(value) or value == round(mean * 100, 2) or value == mean * 100
        else:
            assert value == mean or value == round(mean, 5) or value == round(mean, 3)


@pytest.mark.parametrize(("name", "variant"), EVERY)
def test_nothing_to_compare_with_is_wrong_not_an_error(name: str, variant: str) -> None:
    metric = build_metric(name, PARAMETERS.get(name), variant)
    sample = Sample("1", "", choices=("x", "y") if needs_options(metric) else ())
    if name in JUDGED_ENTIRELY:
        with pytest.raises(UnscoredError):
            metric.score(sample, "A")
        return
    assert scored(metric, sample, "A").scores[next(iter(metric.info.means.values()))] == 0.0


def test_the_registry_is_light_and_metrics_are_imported_when_built() -> None:
    code = (
        "import sys, muster.metrics.registry as r; heavy = {'numpy', 'msgspec', 'torch', 'pydantic'}\n"
        "assert 'muster.metrics.mme' not in sys.modules\n"
        "r.build_metric('mme'); assert 'muster.metrics.mme' in sys.modules\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_docs_name_what_every_scoring_variant_follows() -> None:
    text = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name in metric_names():
        for variant in metric_variants(name):
            follows = followed(name, variant)
            assert follows, f"{name} by {variant}"
            assert variant == "muster" or follows.partition(", ")[0] in text, follows
