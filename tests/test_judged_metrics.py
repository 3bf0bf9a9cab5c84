"""Metrics that ask a judge: what they ask, and how they read what it says.

Guards against prompts that are changed without a new version, answers that pass for a part of the prompt, and verdicts
that are read as something else than what was said, instead of leaving the answer unscored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import JSON, Sample
from muster.metrics.judge_prompts import NAMES, judge_prompt
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


PINNED = {
    "muster-answer_match/1": "7c2a1c6231e4",
    "muster-charxiv/1": "1ddffc4cc87e",
    "muster-llava_bench/1": "214ba8b8eb12",
    "muster-mathvista/1": "c6269de4a12e",
    "muster-mmvet/1": "a36a10f6a139",
    "muster-mmvp/1": "0bc4fd295645",
    "muster-option_matching/1": "4846f84953e0",
    "muster-page_answer/1": "6847aaf30376",
    "muster-simplevqa/1": "275cb053b042",
}
"""A digest of each version's text: verdicts are found again by the version alone."""


def test_no_prompt_is_changed_without_a_new_version() -> None:
    found = {}
    for name in NAMES:
        prompt = judge_prompt(name)
        found[prompt.label] = prompt.named_after("text").label.rpartition("@")[2]
    assert found == PINNED


def test_mmvet_asks_for_a_grade() -> None:
    inquiry = MmVet().inquiry(MEME, "x = -1")
    assert inquiry.prompt == "muster-mmvet/1"
    assert user(inquiry).endswith("\n\nQuestion: What is x?\nReference: -1 <AND> -5\nAnswer: x = -1\nGrade:")
    assert len(inquiry.messages) == 1
    assert user(MmVet(variant="lmms-eval").inquiry(MEME, " x = -1\n")) == user(inquiry)


def test_llava_bench_asks_for_two_scores() -> None:
    inquiry = LlavaBench().inquiry(PLACE, "It is a circle.")
    assert [message.role for message in inquiry.messages] == ["system", "user"]
    assert (
        "=== Description ===\nWhite.\nEmpty.\n\n=== Question ===\nWhere is it?\n\n=== First answer ===\nA square.\n\n"
        "=== Second answer ===\nIt is a circle.\n\n" in user(inquiry)
    )


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
        assert user(metric.inquiry(sample, "There are four.")).endswith(
            "[Question]\nHint: x\nQuestion: How many?\n[Response]\nThere are four.\n[Answer]"
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
    assert user(metric.inquiry(PAINT, " It barks. ")).endswith(
        "[Question]\nWhich animal is it\n[Options]\nA. a cat\nB. a dog\n[Answer]\nIt barks.\n[Letter]"
    )
    chinese = Sample("8", "这是什么", choices=("猫", "狗"), answers=("A",))
    assert user(metric.inquiry(chinese, "会叫的动物")).endswith("[Answer]\n会叫的动物\n[Letter]")
    for variant in MmBench.variants[:-1]:
        assert MmBench(variant=variant).inquiry(PAINT, "It barks.") is None
        assert MmBench(variant=variant).judge_prompt is None


def examples(name: str, pattern: str) -> list[str]:
    """The verdicts that a prompt shows its judge, by a pattern with one group."""
    found = re.findall(pattern, judge_prompt(name).user, re.MULTILINE)
    assert found, name
    return found


def test_the_verdicts_that_prompts_show_can_be_read() -> None:
    """A judge that does as its prompt shows must never leave an answer unscored."""
    for verdict in examples("mmvet", r"^Grade: (.+)$"):
        assert MmVet().score_verdict(MEME, verdict).scores == {"grade": float(verdict)}
    for verdict in examples("llava_bench", r"^(\d+ \d+)$"):
        assert LlavaBench().score_verdict(PLACE, verdict).extracted == verdict
    for verdict in examples("option_matching", r"^\[Letter\]\n(.+)$"):
        metric = MmBench(variant="vlmevalkit-judge")
        sample = Sample("0", "?", choices=("umbrella", "ladder", "guitar"), answers=("C",))
        assert metric.score_verdict(sample, verdict).scores == {"accuracy": float(verdict == "C")}
    kinds = ("integer", "float", "float", "list", "text")
    for kind, verdict in zip(kinds, examples("mathvista", r"^\[Answer\]\n(.+)$"), strict=True):
        given = ("60", "90", "110") if kind == "text" else ()
        sample = Sample(
            "0",
            "?",
            choices=given,
            answers=(given[-1] if given else verdict,),
            metadata={
                "answer_type": kind,
                "question_type": "multi_choice" if given else "free_form",
                "precision": len(verdict.partition(".")[2]),
            },
        )
        for variant in ("lmms-eval", "internvl"):
            assert MathVista(variant=variant).score_verdict(sample, verdict).scores == {"accuracy": 1.0}


@given(st.text())
def test_an_answer_is_never_a_part_of_the_prompt(answer: str) -> None:
    """`{question}` in an answer stays what it is."""
    prediction = f"{{question}}{answer}{{truth}}"
    text = user(MmVet().inquiry(MEME, prediction))
    shown = prediction.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert text.endswith(f"-5\nAnswer: {shown}\nGrade:")


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
