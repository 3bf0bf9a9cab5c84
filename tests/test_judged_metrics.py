"""Metrics that ask a judge: what they ask, and how they read what it says.

Guards against prompts that aren't the published ones to the character, answers that pass for a part of the prompt, and
verdicts that are read as something else than what was said, instead of leaving the answer unscored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import JSON, Sample
from muster.metrics.judge_prompts import judge_prompt
from muster.metrics.llava_bench import LlavaBench
from muster.metrics.mathvista import MathVista
from muster.metrics.mmbench import MmBench
from muster.metrics.mmvet import MmVet
from muster.metrics.protocol import Inquiry, JudgedMetric, Score, ScoredSample, UnscoredError, is_judged
from muster.metrics.registry import build_metric
from muster.metrics.variants import VariantMetric

MEME = Sample("0", "What is x?", answers=("-1<AND>-5",), metadata={"capability": "ocr,math"})
PLACE = Sample(
    "1", "Where is it?", answers=("A square.",), metadata={"caption": "White.\nEmpty.", "category": "conv"}
)
PAINT = Sample("7", "Which animal is it", choices=("a cat", "a dog"), answers=("B",), metadata={"index": 7})


def user(inquiry: Inquiry | None) -> str:
    assert inquiry is not None
    return inquiry.messages[-1].text


def rows(metric: JudgedMetric, *said: tuple[Sample, str]) -> list[ScoredSample]:
    return [ScoredSample(sample, "", metric.score_verdict(sample, verdict)) for sample, verdict in said]


# -- prompts


def test_mmvet_asks_as_its_evaluator() -> None:
    inquiry = MmVet().inquiry(MEME, "x = -1")
    text = user(inquiry)
    assert inquiry.prompt == "mmvet/1"
    assert text.startswith(
        "Compare the ground truth and prediction from AI models, to give a correctness score"
    )
    assert (
        "correctness score.\n\nQuestion | Ground truth | Prediction | Correctness\n--- | --- | --- | ---\n"
        in text
    )
    assert text.endswith("characteristics. | 1.0\n\nWhat is x? | -1 <AND> -5 | x = -1 | ")
    assert len(inquiry.messages) == 1
    lmms = user(MmVet(variant="lmms-eval").inquiry(MEME, " x = -1\n"))
    assert "correctness score.\ngpt_query_prompt | Ground truth" in lmms
    assert lmms.endswith("| 1.0\n\nWhat is x? | -1 <AND> -5 | x = -1 |")


def test_llava_bench_asks_as_its_script() -> None:
    inquiry = LlavaBench().inquiry(PLACE, "It is a circle.")
    assert [message.role for message in inquiry.messages] == ["system", "user"]
    assert user(inquiry).startswith(
        "[Context]\nWhite.\nEmpty.\n\n[Question]\nWhere is it?\n\n[Assistant 1]\nA square.\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nIt is a circle.\n\n[End of Assistant 2]\n\n[System]\nWe would like to request your feedback"
    )
    assert user(inquiry).endswith("does not affect your judgment.\n\n")


def test_mathvista_asks_where_its_rules_find_nothing() -> None:
    sample = Sample(
        "3",
        "How many?",
        answers=("4",),
        metadata={"answer_type": "integer", "query": "Hint: x\nQuestion: How many?"},
    )
    for variant in ("lmms-eval", "internvl"):
        metric = MathVista(variant=variant)
        assert metric.inquiry(sample, "4") is None
        text = user(metric.inquiry(sample, "There are four."))
        assert text.startswith(
            "Please read the following example. Then extract the answer from the model response"
        )
        assert (
            "Choices:\n(A) 3/11\n(B) 8/11\n(C) 6/11\n(D) 3/5\n\nModel response: The correct answer is (B)"
            in text
        )
        assert text.endswith(
            "Extracted answer: B\n\nHint: x\nQuestion: How many?\n\nThere are four.\n\nExtracted answer: "
        )
        assert metric.score_verdict(sample, "4").scores == {"accuracy": 1.0}
        with pytest.raises(UnscoredError, match="judge"):
            metric.score(sample, "There are four.")
    assert MathVista().inquiry(sample, "There are four.") is None
    for without in (MathVista(variant="internvl", empty_without_judge=True), MathVista(extraction="given")):
        assert without.judge_prompt is None
        assert without.inquiry(sample, "There are four.") is None


def test_mmbench_asks_which_option_an_answer_matches() -> None:
    metric = MmBench(variant="vlmevalkit-judge")
    assert metric.inquiry(PAINT, "B") is None
    assert metric.score(PAINT, "B").scores == {"accuracy": 1.0}
    text = user(metric.inquiry(PAINT, " It barks. "))
    assert text.endswith(
        "Example 3: \nQuestion: Which animal is it?\nOptions: There are several options: \nA. a cat\nB. a dog\n\n"
        "Answer: It barks.\nYour output: "
    )
    chinese = Sample("8", "这是什么", choices=("猫", "狗"), answers=("A",))
    assert user(metric.inquiry(chinese, "会叫的动物")).endswith("答案: 会叫的动物\n输出: ")
    for variant in MmBench.variants[:-1]:
        assert MmBench(variant=variant).inquiry(PAINT, "It barks.") is None
        assert MmBench(variant=variant).judge_prompt is None


@given(st.text())
def test_an_answer_is_never_a_part_of_the_prompt(answer: str) -> None:
    """`{question}` in an answer stays what it is."""
    prediction = f"{{question}}{answer}{{truth}}"
    text = user(MmVet().inquiry(MEME, prediction))
    assert text.endswith(
        f"-5 | {prediction.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')} | "
    )


def test_every_prompt_says_where_it_is_from() -> None:
    for name in (
        "mmvet",
        "mmvet_lmms_eval",
        "llava_bench",
        "mathvista",
        "option_matching",
        "option_matching_cn",
    ):
        prompt = judge_prompt(name)
        assert "https://github.com/" in prompt.source
        assert "commit" in prompt.source
        assert prompt.label == f"{name}/1"


# -- verdicts


@pytest.mark.parametrize(
    ("verdict", "grade"), [("0.5", 0.5), ("1.0 |", 1.0), (" 0\n", 0.0), ("1", 1.0), ("0.7 because", 0.7)]
)
def test_mmvet_reads_the_first_word(verdict: str, grade: float) -> None:
    assert MmVet().score_verdict(MEME, verdict).scores == {"grade": grade}


@pytest.mark.parametrize(
    "verdict", ["", "  ", "good", "1.5", "-0.1", "nan", "inf", "50%", "Score: 0.5", "0,5"]
)
def test_mmvet_never_makes_up_a_grade(verdict: str) -> None:
    with pytest.raises(UnscoredError, match="no grade between 0 and 1"):
        MmVet().score_verdict(MEME, verdict)


@pytest.mark.parametrize("verdict", ["8 7\nBoth …", "8, 7", "8,7", "8.0\t7.0", "\n8 7\nwhy"])
def test_llava_bench_reads_the_first_line(verdict: str) -> None:
    assert LlavaBench().score_verdict(PLACE, verdict).scores == {"reference": 8.0, "answer": 7.0}


@pytest.mark.parametrize("verdict", ["", "8", "8 7 6", "Assistant 1: 8\n7", "80 70", "-1 -1", "eight seven"])
def test_llava_bench_never_makes_up_scores(verdict: str) -> None:
    with pytest.raises(UnscoredError, match="two scores"):
        LlavaBench().score_verdict(PLACE, verdict)


def test_mmbench_reads_the_option_that_was_named() -> None:
    metric = MmBench(variant="vlmevalkit-judge")
    said = {"B": 1.0, "Your output: B": 1.0, "A": 0.0, "Z": 0.0}
    for verdict, accuracy in said.items():
        assert metric.score_verdict(PAINT, verdict).scores == {"accuracy": accuracy}, verdict
    with pytest.raises(UnscoredError, match="names no option"):
        metric.score_verdict(PAINT, "I can't tell.")
    with pytest.raises(UnscoredError, match="extracted nothing"):
        MathVista(variant="internvl").score_verdict(PAINT, " ")


@given(st.text(), st.sampled_from(["mmvet", "llava_bench", "mathvista", "mmbench"]), st.data())
def test_no_answer_and_no_verdict_raises_anything_else(text: str, name: str, data: st.DataObject) -> None:
    built = build_metric(name)
    assert isinstance(built, VariantMetric)
    metric = build_metric(name, variant=data.draw(st.sampled_from(built.variants)))
    assert is_judged(metric)
    for sample in (MEME, PLACE, PAINT):
        if metric.inquiry(sample, text) is not None:
            assert metric.judge_prompt is not None
            with pytest.raises(UnscoredError):
                metric.score(sample, text)
        try:
            score: Score | None = metric.score_verdict(sample, text)
        except UnscoredError:
            score = None
        assert score is None or all(math.isfinite(value) for value in score.scores.values())


# -- scores


def capabilities(*listed: JSON) -> Sequence[Sample]:
    return [
        Sample(str(i), "?", answers=("x",), metadata={"capability": each}) for i, each in enumerate(listed)
    ]


def test_mmvet_averages_over_the_questions_that_need_a_capability() -> None:
    metric = MmVet()
    one, two, three = capabilities("rec,ocr", ["ocr"], "rec")
    scores = metric.aggregate(rows(metric, (one, "1.0"), (two, "0.5"), (three, "0.0")))
    assert scores["total"] == pytest.approx(50)
    assert scores["rec"] == pytest.approx(50)
    assert scores["ocr"] == pytest.approx(75)
    assert math.isnan(scores["math"])


def test_llava_bench_is_relative_to_the_references() -> None:
    said = [(PLACE, "9 8"), (PLACE, "8 7"), (PLACE, "9 3")]
    means = {"answers": 18 / 3, "references": 26 / 3}
    official = LlavaBench().aggregate(rows(LlavaBench(), *said))
    assert official["relative"] == round(100 * 6.0 / round(26 / 3, 3), 1) == 69.2
    exact = LlavaBench(variant="vlmevalkit")
    unrounded = exact.aggregate(rows(exact, *said))
    assert unrounded["relative"] == pytest.approx(100 * means["answers"] / means["references"], rel=1e-12)
    assert unrounded["references"] == pytest.approx(10 * means["references"])
    nothing = exact.aggregate(rows(exact, (PLACE, "0 3")))
    assert math.isnan(nothing["relative"])


def test_only_metrics_that_ask_are_judged() -> None:
    for name in ("exact_match", "multiple_choice", "vqa_accuracy"):
        assert not is_judged(build_metric(name))
    assert is_judged(build_metric("mmvet"))
    assert not is_judged(cast("MmVet", object()))
