"""Every reference variant against the golden cases, with ==. Guards against a score that differs in its last digit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from muster.core import JSON, Sample
from muster.metrics import vqa_text
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.mmbench import can_infer
from muster.metrics.letters.options import lettered
from muster.metrics.letters.videomme import first_letter
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.open_answers import parse_open
from muster.metrics.registry import build_metric

Case = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"


def cases(name: str) -> list[Case]:
    lines = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def sample(doc: Case) -> Sample:
    """A document of the reference as a task file would map it: letters for right answers, the rest as metadata."""
    answers = doc.get("answer_parsed", doc.get("answers", doc.get("answer", doc.get("gt_answer", ""))))
    texts = tuple(map(str, answers)) if isinstance(answers, list) else (str(answers),)
    options = doc.get("options_dict") or doc.get("options") or doc.get("choices") or {}
    options = [] if options == "[]" else options
    choices = tuple(options.values() if isinstance(options, dict) else options)
    metadata: dict[str, JSON] = {
        key: value for key, value in doc.items() if key not in ("options", "choices")
    }
    return Sample(str(doc.get("id", "1")), str(doc.get("question", "")), (), (), choices, texts, metadata)


def by_number(doc: Case) -> Sample:
    """The right answer is the number of an option."""
    return replace(sample(doc), answers=("ABCD"[int(doc["answer"])],))


def seed(doc: Case) -> Sample:
    return replace(sample(doc), choices=tuple(doc[f"choice_{letter}"] for letter in "abcd"))


def box(doc: Case) -> Sample:
    return Sample("1", "", metadata={**doc, "bbox": doc["bbox_xyxy_abs"]})


class Convention(NamedTuple):
    """Where a file of cases says what a variant of a metric gives."""

    file: str
    key: str
    metric: str
    variant: str
    params: Mapping[str, JSON] = MappingProxyType({})
    make: Callable[[Case], Sample] = sample
    score: str = ""
    """The per-answer score that is compared; the first of the metric's means where it is empty."""


THREE = {"lmms_eval": "lmms-eval", "internvl": "internvl", "vlmevalkit": "vlmevalkit"}
PLAIN = {"anls": "anls", "chartqa_relaxed": "relaxed_accuracy", "mme": "mme", "pope": "yes_no"}
CONVENTIONS = [
    *(
        Convention(file, key, metric, variant)
        for key, variant in THREE.items()
        for file, metric in PLAIN.items()
    ),
    *(Convention("ai2d_exact_match", key, "ai2d", variant, make=by_number) for key, variant in THREE.items()),
    *(Convention("scienceqa", key, "scienceqa", variant, make=by_number) for key, variant in THREE.items()),
    *(Convention("seedbench", key, "seedbench", variant, make=seed) for key, variant in THREE.items()),
    *(Convention("refcoco_grounding", key, "grounding", variant, make=box) for key, variant in THREE.items()),
    *(
        Convention("vqa_accuracy", f"{key}_textvqa", "vqa_accuracy", variant)
        for key, variant in THREE.items()
    ),
    *(
        Convention(file, key, metric, THREE[key])
        for key in ("lmms_eval", "vlmevalkit")
        for file, metric in (
            ("gqa_exact_match", "exact_match"),
            ("ocrbench", "ocrbench"),
            ("mmstar", "mmstar"),
            ("realworldqa", "realworldqa"),
            ("realworldqa", "multiple_choice"),
            ("videomme", "videomme"),
        )
    ),
    Convention("gqa_exact_match", "internvl_exact_match", "exact_match", "internvl", {"benchmark": "ocrvqa"}),
    Convention("vqa_accuracy", "lmms_eval_vqav2", "vqa_accuracy", "lmms-eval", {"benchmark": "vqav2"}),
    Convention("mmbench", "lmms_static", "mmbench", "lmms-eval"),
    Convention("mmbench", "vlmevalkit_can_infer", "mmbench", "vlmevalkit"),
    Convention("mmbench", "internvl_post_process", "mmbench", "internvl"),
    Convention("hallusionbench", "lmms_intern", "hallusionbench", "lmms-eval"),
    Convention("hallusionbench", "vlmevalkit", "hallusionbench", "vlmevalkit"),
    Convention(
        "hallusionbench",
        "lmms_given_judge",
        "hallusionbench",
        "lmms-eval",
        {"judged": "given_judge_correctness"},
    ),
    Convention("mathvista", "lmms_normalize", "mathvista", "lmms-eval", {"extraction": "given"}),
    Convention("mathvista", "internvl_normalize", "mathvista", "internvl", {"extraction": "given"}),
    Convention("mathvista", "lmms_extract_noGPT", "mathvista", "lmms-eval", {"empty_without_judge": True}),
    Convention(
        "mathvista",
        "lmms_extract_quick",
        "mathvista",
        "lmms-eval",
        {"extraction": "quick", "empty_without_judge": True},
    ),
    Convention("mathvista", "internvl_extract_quick", "mathvista", "internvl", {"extraction": "quick"}),
    Convention("mmmu", "lmms_eval", "mmmu", "lmms-eval"),
    Convention("mmmu", "lmms_eval_helpers", "mmmu", "lmms-eval"),
    Convention("mmmu", "internvl_eval_utils", "mmmu", "internvl"),
    Convention("mmmu", "internvl_pipeline", "mmmu", "internvl", {"post_process": True}),
    Convention("mmmu", "vlmevalkit", "mmmu", "vlmevalkit"),
    *(
        Convention("refcoco_grounding", key, "grounding", variant, make=box, score="iou")
        for key, variant in THREE.items()
    ),
]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda row: f"{row.metric}-{row.key}{row.score}")
def test_scores_equal_the_reference(convention: Convention) -> None:
    metric = build_metric(convention.metric, convention.params, convention.variant)
    score_name = convention.score or next(iter(metric.info.means.values()))
    compared = 0
    for case in cases(convention.file):
        expected = case["expected"].get(convention.key)
        if expected is None or case["doc"].get("circular"):
            continue
        got = metric.score(convention.make(case["doc"]), case["prediction"])
        if expected.get("random_fallback"):
            assert got.scores["guessed"] == 1.0, case["case_id"]
            continue
        if convention.score == "iou":
            assert got.scores["iou"] == expected.get("iou", expected.get("iou_f32")), case["case_id"]
        elif "error" in expected:  # the reference raises
            assert (got.scores[score_name], got.extracted) == (0.0, None), case["case_id"]
        else:
            assert got.scores[score_name] == expected.get("score", expected.get("correct")), case["case_id"]
            if "random_fallback" in expected:
                assert got.scores["guessed"] == 0.0, case["case_id"]
        for name in ("normalized_pred", "normalized"):
            if name in expected:
                assert got.extracted == expected[name], case["case_id"]
        compared += 1
    assert compared > 5


@pytest.mark.parametrize("threshold", ["0.1", "0.3", "0.5", "0.7", "0.9"])
def test_lmms_eval_grounding_thresholds(threshold: str) -> None:
    metric = build_metric("grounding", variant="lmms-eval")
    for case in cases("refcoco_grounding"):
        expected, got = case["expected"]["lmms_eval"], metric.score(box(case["doc"]), case["prediction"])
        assert got.scores[f"acc@{threshold}"] == expected["acc"][threshold], case["case_id"]
        assert got.scores["center_acc"] == expected["center_acc"], case["case_id"]


def test_a_group_that_is_hit_has_no_wrong_rotation() -> None:
    # The sample of the cases has few rotations of each question, so only this direction can be seen.
    for key, variant in (("lmms_static", "lmms-eval"), ("vlmevalkit_can_infer", "vlmevalkit")):
        metric = build_metric("mmbench", variant=variant)
        hits = [case for case in cases("mmbench") if case["expected"].get(key, {}).get("group_hit")]
        for case in hits:
            assert metric.score(sample(case["doc"]), case["prediction"]).scores["accuracy"] == 1.0, case[
                "case_id"
            ]
        assert hits


def test_mmmu_open_answers_are_parsed_as_by_the_reference() -> None:
    parsed = 0
    for case in cases("mmmu"):
        if "parsed" in case["expected"].get("internvl_eval_utils", {}):
            expected = case["expected"]["internvl_eval_utils"]["parsed"]
            assert sorted(map(str, parse_open(case["prediction"]))) == sorted(map(str, expected)), case[
                "case_id"
            ]
            parsed += 1
    assert parsed > 5


@pytest.mark.parametrize(
    ("key", "normalise"),
    [
        ("evalai", vqa_text.evalai),
        ("internvl_evalai", vqa_text.evalai),
        ("vlmevalkit_process_answer", vqa_text.vlmevalkit),
        ("lmms_vqav2_steps", vqa_text.lmms_eval_vqav2),
    ],
)
def test_vqa_normalisers(key: str, normalise: Callable[[str], str]) -> None:
    for case in cases("vqa_normalizer"):
        assert normalise(case["prediction"]) == case["expected"][key]["normalized"], case["case_id"]


def test_internvl_submits_gqa_answers_in_its_form() -> None:
    metric = build_metric("exact_match", variant="internvl")
    for case in cases("gqa_exact_match"):
        submitted = case["expected"]["internvl_convert_only"]["submitted"]
        assert metric.score(sample(case["doc"]), case["prediction"]).extracted == submitted


def options(doc: Case) -> dict[str, str]:
    given: Any = doc.get("options") or doc.get("choices") or {}
    return given if isinstance(given, dict) else lettered(given)


@pytest.mark.parametrize("file", ["mmstar", "videomme"])
def test_lmms_eval_letters(file: str) -> None:
    for case in cases(file):
        assert (extract_letter(case["prediction"]) or "") == case["expected"]["lmms_eval"]["pred"], case[
            "case_id"
        ]


@pytest.mark.parametrize("file", ["mmstar", "realworldqa", "scienceqa", "mmbench"])
def test_vlmevalkit_letters(file: str) -> None:
    key = "vlmevalkit_can_infer" if file == "mmbench" else "vlmevalkit"
    nothing = False if file == "mmbench" else "Z"
    for case in cases(file):
        if key in case["expected"]:
            found = infer_letter(case["prediction"], options(case["doc"]))
            assert (found or nothing) == case["expected"][key]["pred"], case["case_id"]


def test_internvl_letters_and_the_answers_it_crashes_on() -> None:
    for case in cases("mmbench"):
        if "internvl_post_process" in case["expected"]:
            expected = case["expected"]["internvl_post_process"].get("pred")  # an IndexError has none
            assert post_process(case["prediction"], options(case["doc"])) == expected, case["case_id"]


def test_lmms_eval_infers_mmbench_letters() -> None:
    for case in cases("mmbench"):
        if "lmms_can_infer" in case["expected"]:
            found = can_infer(case["prediction"], options(case["doc"]))
            assert (found or False) == case["expected"]["lmms_can_infer"]["pred"], case["case_id"]


def test_vlmevalkit_videomme_letters() -> None:
    for case in cases("videomme"):
        found = first_letter(case["prediction"], options(case["doc"]))
        assert found == case["expected"]["vlmevalkit"]["pred"], case["case_id"]
