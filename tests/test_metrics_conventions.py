"""What METRICS' text says beyond the golden cases: who strips, which roles are swapped, what counts where."""

from __future__ import annotations

import pytest

from muster.core import JSON, Sample
from muster.metrics import verdicts, vqa_text
from muster.metrics.letters.internvl import post_process
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.registry import build_metric


def score(name: str, variant: str, answers: tuple[str, ...], text: str, **params: JSON) -> float:
    metric = build_metric(name, params, variant)
    return next(iter(metric.score(Sample("1", "", answers=answers), text).scores.values()))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("3.5.", "3.5"),
        ("a.b,c", "abc"),
        ("." * 40, "." * 8),  # re.UNICODE is 32, passed as the count
        ("1.５", "1.５"),  # \d knows full-width digits
        ("a,,b", "ab"),
        ("zero none ten", "0 0 10"),
        ("Im", "im"),  # rows with capitals can't match lower-cased text
        ("dont", "don't"),
        ("the a an", ""),
        ("x: #1 & 50%", "x: #1 & 50%"),
        ("1,,2 x-y", "12 x y"),  # its commas are gone before punctuation is looked at
    ],
)
def test_evalai_normaliser(text: str, normal: str) -> None:
    assert vqa_text.evalai(text) == normal


def test_vqav2_neither_splits_possessives_nor_needs_one_comma() -> None:
    assert vqa_text.lmms_eval_vqav2("john's") == "john's"
    assert vqa_text.lmms_eval_vqav2("1,,2 x-y") == "12 xy"
    assert vqa_text.vlmevalkit("1,,2 x-y") == "1 2 x y"  # one comma between digits, or it is a blank
    assert vqa_text.vlmevalkit("2.") == "2."


def test_whole_text_decides_how_each_mark_goes() -> None:
    # "- " deletes every hyphen; the slash touches no blank and becomes one.
    assert vqa_text.vlmevalkit("a- b-c/d") == "bc d"


@pytest.mark.parametrize(("variant", "expected"), [("lmms-eval", 0.6), ("internvl", 0.6000000000000001)])
def test_vqa_means_differ_in_the_last_bit(variant: str, expected: float) -> None:
    answers = ("yes", "yes", "yes", "yes", "no", "yes", "no", "yes", "yes", "yes")
    assert score("vqa_accuracy", variant, answers, "no") == expected


@pytest.mark.parametrize(
    ("variant", "text", "expected"),
    [
        ("lmms-eval", "  abc  ", 0.75),
        ("internvl", "  abc  ", 0.8571428571428572),
        ("vlmevalkit", "abc", 0.75),
    ],
)
def test_outer_blanks_raise_anls_where_the_answer_is_not_stripped(
    variant: str, text: str, expected: float
) -> None:
    assert score("anls", variant, ("abcd",), text) == expected


def test_anls_edges() -> None:
    assert score("anls", "lmms-eval", ("ab",), "xb") == 0.5  # the threshold itself stays
    assert score("anls", "lmms-eval", ("",), "") == 1.0
    assert score("anls", "lmms-eval", ("ß",), "ss") == 0.0
    assert score("anls", "lmms-eval", (), "x") == 0.0
    assert score("anls", "lmms-eval", ("abcdefghij" * 20,), "x" * 100_000) == 0.0


@pytest.mark.parametrize(
    ("answer", "text", "lmms", "internvl"),
    [
        ("100", "95", 1.0, 0.0),
        ("100", "105.1", 0.0, 1.0),
        ("2016", "1916", 1.0, 0.0),
        ("0", "0.0", 0.0, 0.0),
        ("0.0", "0", 0.0, 0.0),
        ("45%", "45", 0.0, 0.0),
        ("45%", "0.45", 1.0, 1.0),
        ("10", "1_0", 1.0, 1.0),
        ("1000", "1,000", 0.0, 0.0),
        ("5%%", "0.05", 1.0, 1.0),
        ("inf", "inf", 0.0, 0.0),
        ("1e-320", "1e308", 0.0, 0.0),
    ],
)
def test_relaxed_accuracy(answer: str, text: str, lmms: float, internvl: float) -> None:
    assert score("relaxed_accuracy", "lmms-eval", (answer,), text) == lmms
    assert score("relaxed_accuracy", "internvl", (answer,), text) == internvl


def test_relaxed_accuracy_reads_listed_answers_without_eval() -> None:
    assert score("relaxed_accuracy", "vlmevalkit", ("['3', 'three', 4]",), "4") == 1.0
    assert score("relaxed_accuracy", "lmms-eval", ("['3', 'three']",), "three") == 0.0
    hostile = "[__import__('os').abort()]"
    assert score("relaxed_accuracy", "vlmevalkit", (hostile,), hostile) == 1.0  # compared as text, not run


def test_gqa_does_not_strip_after_it_removed_punctuation() -> None:
    assert score("exact_match", "lmms-eval", ("no",), "no .") == 0.0
    assert score("exact_match", "lmms-eval", ("no",), " No! ") == 1.0
    assert score("exact_match", "internvl", ("no",), "No..") == 1.0
    assert score("exact_match", "internvl", ("no",), " no") == 0.0


def test_ai2d_takes_a_letter_with_a_period_before_anything_else() -> None:
    assert score("ai2d", "lmms-eval", ("B",), "  B. the wing") == 1.0
    assert score("ai2d", "lmms-eval", ("B",), "b. the wing") == 0.0


def test_pope_readers() -> None:
    assert verdicts.lmms_eval_pope(" YES\n") == "yes"
    assert verdicts.lmms_eval_pope("Yes.") is None
    assert [verdicts.internvl_pope(text) for text in ("", "NO", "no!", "No, sir", "a\nno")] == [
        "yes",
        "yes",
        "yes",
        "no",
        "yes",
    ]
    assert verdicts.vlmevalkit("Yes, and no") is None


@pytest.mark.parametrize(
    ("text", "lmms", "internvl"),
    [
        ("Y.", "yes", None),
        ("not", "no", "no"),
        ("noon", "no", "no"),
        ("the answer is yes", None, None),
        ("是的", None, "yes"),
        ("不是", None, "no"),
        ("True", None, "yes"),
        ("\nyes", "yes", "yes"),
        ("   no", "no", None),  # InternVL doesn't strip: "   n" are the first four
        ("y.e.s", "yes", None),
    ],
)
def test_mme_readers(text: str, lmms: str | None, internvl: str | None) -> None:
    assert verdicts.lmms_eval_mme(text) == lmms
    assert verdicts.internvl_mme(text) == internvl


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Cannot tell", "C"),
        ("A cat", "A"),
        ("Aあ", "A"),
        ("answer is b", None),
        ("(A) or (B)", "B"),
        ("\"'B'\"", "B"),
        ("my choice is (D), not B.", "B"),
        ("my choice is (D) Bob", "B"),
        ("C: my choice is (D) today", "C"),
        ("", None),
        ("!!!", None),
    ],
)
def test_lmms_eval_extracts(text: str, letter: str | None) -> None:
    assert extract_letter(text) == letter


def test_vlmevalkit_infers_only_near_the_end_or_from_a_statement() -> None:
    options = {"A": "cat", "B": "dog", "C": "horse", "D": "cow"}
    assert infer_letter("B it is, I am quite sure", options) is None
    assert infer_letter("I am sure, it is B", options) == "B"
    assert infer_letter("answer is banana", options) == "B"  # no word boundary
    assert infer_letter("Cannot determine the answer A", options) == "Z"
    assert infer_letter("Failed to obtain answer via API. A", options) is None
    assert infer_letter("It is a HORSE", options) == "C"
    assert (
        infer_letter("It is a horse, or so it looks to me", options) is None
    )  # longer than twice the options
    assert infer_letter("", {}) is None


def test_internvl_takes_first_letters_of_words() -> None:
    options = {"A": "cat", "B": "dog"}
    assert post_process("Bananas", options) == "B"
    assert post_process(" z ", options) == "z"
    assert post_process("the dog", options) == "B"
    assert post_process("the Dog", options) == "the Dog"
    assert post_process(" ", options) is None
