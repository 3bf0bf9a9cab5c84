"""Guards against patterns that take a power of an answer's length: a model in a loop must not stop the scoring.

What is compared is how processor time grows, never how long anything takes: four times the text may take some eight
times as long, where the square would take sixteen times, and is asked again before it counts.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from muster.core import JSON, Sample
from muster.metrics.protocol import Metric, UnscoredError
from muster.metrics.registry import build_metric, metric_names, metric_variants
from muster.metrics.thinking import Thinking, split_lmms_eval
from muster.results.answer_scoring import Problem, score_text
from muster.results.scoring_limits import MOST_CHARACTERS, ScoringLimitError, handled, watching, within_limits
from muster.results.verdicts import VerdictBook

METADATA: dict[str, JSON] = {
    "bbox": [10, 10, 50, 50],
    "width": 1000,
    "height": 1000,
    "group": "1",
    "category": "VS",
    "subcategory": "a",
    "index": 1,
    "set_id": "1",
    "figure_id": "1",
    "question_id": "1",
    "l2_category": "x",
    "pair": "1",
    "split": "x",
    "question_type": "multi_choice",
    "answer_type": "text",
    "precision": 2,
    "dataset": "x",
    "query": "q?",
}
CHOICES = Sample(
    "validation_Art_1", "q", (), (), ("zebra crossing", "a dog", "cat", "bird"), ("B",), METADATA
)
OPEN = {**METADATA, "question_type": "open"}
FREE = {**METADATA, "question_type": "free_form", "answer_type": "float"}
SAMPLES = {
    "mmmu": [CHOICES, Sample("validation_Art_1", "q", answers=("3.5",), metadata=OPEN)],
    "mathvista": [CHOICES, Sample("1", "q", answers=("3.5",), metadata=FREE)],
    "mathvision": [CHOICES, Sample("1", "q", answers=("\\frac{1}{2}",), metadata=METADATA)],
    "ccocr": [Sample("1", "q", answers=("a dog",), metadata={"dataset": "IC15"})],
    "omnidocbench": [
        Sample(
            "1",
            "q",
            answers=('{"elements": [{"category_type": "text_block", "text": "a dog", "order": 1}]}',),
        )
    ],
    "ocrbench_v2": [
        Sample("1", "html?", answers=(answer,), metadata={"type": f"{kind} en"} | METADATA)
        for kind, answer in (
            ("cognition VQA", "five words are here now"),
            ("full-page OCR", "a dog and a cat"),
            ("formula recognition", "x^2"),
            ("table parsing", "<table><tr><td>a</td></tr></table>"),
            ("chart parsing", '{"a": 1}'),
            ("document parsing", "# a\ndog"),
            ("key information extraction", '{"a": ["dog"]}'),
            ("text grounding", "1"),
        )
    ],
    **{
        name: [Sample("1", "q", answers=answers, metadata=METADATA)]
        for name, answers in (
            ("anls", ("a dog", "42")),
            ("vqa_accuracy", ("a dog",) * 10),
            ("relaxed_accuracy", ("42", "a dog")),
            ("ocrbench", ("a dog",)),
            ("exact_match", ("a dog",)),
            ("contains", ("a dog", "42")),
            ("number", ("42",)),
            ("yes_no", ("yes",)),
            ("mme", ("yes",)),
            ("hallusionbench", ("1",)),
        )
    },
}
BEYOND = ("captions", "dialogues", "llava_bench", "mmvet")
"""Scored all together, by another metric, or by a judge."""
TOKENS = [
    *(
        "1",
        "1,",
        "1.",
        "1e",
        "-",
        "[12, 34, ",
        "[",
        "(",
        "(A) ",
        "{",
        "\\boxed{",
        "\\frac{1}",
        "\\sqrt{",
        "$",
        "\\",
    ),
    *(
        " ",
        "\n",
        " \n",
        "、",
        "あ",
        "é",
        "a",
        "A ",
        "A, ",
        "B.\n",
        "A or ",
        "<",
        "<think>",
        "</think>",
        "</",
        "**",
        "'",
    ),
    *(
        "answer is ",
        "answer: ",
        "The answer is A. ",
        "not ",
        "option B ",
        "yes no ",
        "zebra ",
        "a dog ",
        "the dog, ",
    ),
    *("wait, ", "is ", "so ", "the one ", ":", ", ", ".", "=", "\u200b"),
]
STARTS = ["", "[", "B (", "answer is "]


@pytest.mark.parametrize("name", [name for name in metric_names() if name not in BEYOND])
def test_time_grows_with_the_length_alone(name: str) -> None:
    parameters: dict[str, JSON] = {"group": "group", "category": "category"} if name == "mme" else {}
    for variant in metric_variants(name):
        metric = build_metric(name, parameters, variant)
        for sample in SAMPLES.get(name, [CHOICES]):
            for start, token in _loops():
                assert _is_linear(metric, sample, start, token), (
                    f"{name} ({variant}): {start!r} + {token!r} …"
                )


def test_time_grows_with_the_length_alone_for_several_letters() -> None:
    metric = build_metric("multiple_choice", {"all_of": True})
    for start, token in (*_loops(), ("", "AB"), ("", "A and "), ("", "answers A, ")):
        assert _is_linear(metric, CHOICES, start, token), f"{start!r} + {token!r} …"


@pytest.mark.parametrize(
    "token", ["| a ", "|---", "\\text{", "<table><tr><td>", "<|im_end|>", "\\begin{table}", "\\tag{"]
)
def test_pages_in_a_loop_take_linear_time(token: str) -> None:
    """Of these a page of 30,000 characters took seconds, one of 100,000 longer than an answer may."""
    metric = build_metric("omnidocbench")
    (page,) = SAMPLES["omnidocbench"]

    def work(text: str) -> None:
        metric.score(page, text)

    assert any(_growth(work, "", token, length) < 9 for length in (24_000, 48_000))


def test_thoughts_are_divided_in_linear_time() -> None:
    for split in (Thinking().split, split_lmms_eval):
        for token in (
            "<think>",
            "</think>",
            "<think></think>",
            "<",
            "[THINK",
            "◁think▷",
            "<|channel|>",
            "a </analysis>",
        ):

            def work(text: str) -> None:
                split(text)  # noqa: B023

            assert _grows_linearly(work, "", token), (split, token)


def _loops() -> Iterator[tuple[str, str]]:
    """Every token after one of the starts, in turn."""
    for number, token in enumerate(TOKENS):
        yield STARTS[number % len(STARTS)], token


def _is_linear(metric: Metric, sample: Sample, start: str, token: str) -> bool:
    def work(text: str) -> None:
        with contextlib.suppress(UnscoredError):
            metric.score(sample, text)

    return _grows_linearly(work, start, token)


def _grows_linearly(work: Callable[[str], None], start: str, token: str) -> bool:
    return any(_growth(work, start, token, length) < 9 for length in (6_000, 12_000, 24_000))


def _growth(work: Callable[[str], None], start: str, token: str, length: int) -> float:
    """Processor time for `length`, as a multiple of that for a quarter; what takes next to nothing doesn't grow."""
    long = _seconds(work, start, token, length)
    return 0.0 if long < 0.02 else long / max(_seconds(work, start, token, length // 4), 1e-4)


def _seconds(work: Callable[[str], None], start: str, token: str, length: int) -> float:
    text = start + (token * (length // len(token) + 1))[:length]
    began = time.process_time()
    work(text)
    return time.process_time() - began


def test_an_answer_that_is_too_long_or_takes_too_long_is_an_error_of_its_metric() -> None:
    class Slow:
        info = build_metric("exact_match").info

        def score(self, _sample: Sample, _prediction: str) -> object:
            while True:
                pass

    outcome = score_text(build_metric("exact_match"), CHOICES, 0, "a" * (MOST_CHARACTERS + 1), VerdictBook())
    assert isinstance(outcome, Problem)
    assert outcome.kind == "metric"
    assert "1,000,001 characters" in outcome.message
    with pytest.raises(ScoringLimitError, match=r"more than 0\.05 s"), within_limits("a", 0.05):
        Slow().score(CHOICES, "a")
    before = signal.getsignal(signal.SIGVTALRM)
    with handled():  # while a run goes on: many such, one after the other
        for _ in range(3):
            with pytest.raises(ScoringLimitError, match=r"more than 0\.05 s"), within_limits("a", 0.05):
                Slow().score(CHOICES, "a")
        with watching(0.05) as answer, pytest.raises(ScoringLimitError), answer:
            Slow().score(CHOICES, "a")
        spin_until = (
            time.process_time() + 0.1
        )  # nothing is left that would interrupt what comes after an answer
        while time.process_time() < spin_until:
            pass
    assert signal.getsignal(signal.SIGVTALRM) == before
