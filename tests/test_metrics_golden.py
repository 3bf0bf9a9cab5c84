"""Every reference variant against the golden cases, with ==. Guards against a score that differs in its last digit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from muster.core import JSON, Sample
from muster.metrics import vqa_text
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.options import lettered
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.registry import build_metric

Case = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden"


def cases(name: str) -> list[Case]:
    lines = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def sample(doc: Case) -> Sample:
    answers = doc.get("answers", doc.get("answer"))
    texts = tuple(answers) if isinstance(answers, list) else (str(answers),)
    metadata: dict[str, JSON] = {key: value for key, value in doc.items() if isinstance(value, str)}
    return Sample("1", str(doc.get("question", "")), answers=texts, metadata=metadata)


def ai2d_sample(doc: Case) -> Sample:
    return Sample("1", "", choices=tuple(doc["options"]), answers=("ABCD"[int(doc["answer"])],))


THREE = {"lmms_eval": "lmms-eval", "internvl": "internvl", "vlmevalkit": "vlmevalkit"}


def scored() -> Iterator[tuple[str, str, str, dict[str, JSON], str, Callable[[Case], Sample]]]:
    """(file, expected key, metric, parameters, variant, how a sample is made)"""
    for key, variant in THREE.items():
        for file, metric in (
            ("anls", "anls"),
            ("chartqa_relaxed", "relaxed_accuracy"),
            ("mme", "mme"),
            ("pope", "yes_no"),
        ):
            yield file, key, metric, {}, variant, sample
        yield "ai2d_exact_match", key, "exact_match", {"benchmark": "ai2d"}, variant, ai2d_sample
        yield "vqa_accuracy", f"{key}_textvqa", "vqa_accuracy", {}, variant, sample
        if key != "internvl":
            yield "gqa_exact_match", key, "exact_match", {}, variant, sample
            yield "ocrbench", key, "ocrbench", {}, variant, sample
    yield "gqa_exact_match", "internvl_exact_match", "exact_match", {"benchmark": "ai2d"}, "internvl", sample
    yield "vqa_accuracy", "lmms_eval_vqav2", "vqa_accuracy", {"benchmark": "vqav2"}, "lmms-eval", sample
    yield "realworldqa", "lmms_eval", "multiple_choice", {}, "lmms-eval", sample


@pytest.mark.parametrize("convention", list(scored()), ids=lambda row: f"{row[0]}-{row[1]}")
def test_scores_equal_the_reference(
    convention: tuple[str, str, str, dict[str, JSON], str, Callable[[Case], Sample]],
) -> None:
    file, key, name, params, variant, make = convention
    metric = build_metric(name, params, variant)
    score_name = next(iter(metric.info.means.values()))
    compared = 0
    for case in cases(file):
        if key not in case["expected"]:
            continue
        expected = case["expected"][key]
        got = metric.score(make(case["doc"]), case["prediction"])
        assert got.scores[score_name] == expected["score"], case["case_id"]
        if "normalized_pred" in expected:
            assert got.extracted == expected["normalized_pred"], case["case_id"]
        compared += 1
    assert compared > 5


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
