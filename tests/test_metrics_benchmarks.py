"""The aggregates of the benchmarks as each toolkit prints them, against numbers that were worked out by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np
import pytest

from muster.core import JSON, Sample
from muster.metrics.mmmu_subjects import DISCIPLINES, subject_of
from muster.metrics.protocol import CategorisingMetric, Metric, ScoredSample, UnscoredError
from muster.metrics.registry import build_metric
from muster.results.aggregation import TaskScores
from muster.results.answer_scoring import score_answer
from muster.results.results import TaskResults
from muster.results.verdicts import VerdictBook
from toy_task import toy_plan

Row = tuple[Sample, str]


def scored(metric: Metric, rows: Iterable[Row]) -> list[ScoredSample]:
    return [ScoredSample(sample, text, metric.score(sample, text)) for sample, text in rows]


def results_of(metric: Metric, rows: Iterable[Row], by: tuple[str, ...]) -> TaskResults:
    rows = list(rows)
    scores = TaskScores(toy_plan(metric=metric, by=by).task, [sample for sample, _text in rows])
    for sample, text in rows:
        scores.add(score_answer(scores.task, sample, 0, text, VerdictBook()))
    return scores.results()


def lettered(number: int | str, right: bool, **metadata: JSON) -> Row:
    sample = Sample(str(number), "?", choices=("cat", "dog"), answers=("A",), metadata=metadata)
    return sample, "A" if right else "B"


def rotations(outcomes: dict[int, str], **metadata: JSON) -> list[Row]:
    """`{3: "110"}`: question 3, whose third rotation was answered wrongly."""
    return [
        lettered(f"row {index}", right == "1", index=index + 1_000_000 * rotation, **metadata)
        for index, all_of_them in outcomes.items()
        for rotation, right in enumerate(all_of_them)
    ]


@pytest.mark.parametrize("variant", ["muster", "lmms-eval", "vlmevalkit", "internvl"])
def test_mmbench_counts_a_question_only_when_every_rotation_is_right(variant: str) -> None:
    metric = build_metric("mmbench", variant=variant)
    result = metric.aggregate(scored(metric, rotations({1: "11", 2: "10", 3: "111", 4: "1"})))
    assert result["circular"] == 3 / 4
    assert result["accuracy"] == 7 / 8
    assert result.get("overall") == (75.0 if variant == "lmms-eval" else None)


def test_mmbench_takes_the_category_of_the_question_as_first_asked() -> None:
    rows = [
        lettered("b", True, index=2_000_007, category="wrong"),
        lettered("a", True, index=7, category="ocr"),
        lettered("c", False, index=8, category="scene"),
        lettered("d", True, index="1000008"),
    ]
    by = results_of(build_metric("mmbench"), rows, ("category",)).by["category"]
    assert {category: scores["circular"].value for category, scores in by.items()} == {
        "ocr": 1.0,
        "scene": 0.0,
    }
    assert by["ocr"]["accuracy"].n == 2


def test_mmbench_without_numbers_is_plain_accuracy() -> None:
    metric = build_metric("mmbench")
    assert metric.aggregate(scored(metric, [lettered("x", True), lettered("y", False)]))["circular"] == 0.5


def test_mmstar_averages_over_second_level_categories() -> None:
    rows = [
        *(lettered(n, n < 2, l2_category="a", category="x") for n in range(3)),
        *(lettered(n, n < 4, l2_category="b", category="x") for n in range(3, 5)),
        lettered(5, True, l2_category="c", category="y"),
    ]
    metric = build_metric("mmstar", variant="lmms-eval")
    result = metric.aggregate(scored(metric, rows))
    assert metric.info.primary == "average"
    assert result == {"accuracy": 4 / 6, "average": (2 / 3 + 1 / 2 + 1) / 3}
    by = results_of(metric, rows, ("category",)).by["category"]
    assert by["x"]["average"].value == (2 / 3 + 1 / 2) / 2


def test_mmvp_counts_pairs_that_are_right_and_whole() -> None:
    rows = [
        *(lettered(n, True, pair="0") for n in (0, 1)),
        *(lettered(n, n == 2, pair="1") for n in (2, 3)),
        lettered(4, True, pair="2"),  # its twin failed
    ]
    metric = build_metric("mmvp")
    assert metric.info.primary == "pair_accuracy"
    assert metric.aggregate(scored(metric, rows)) == {"accuracy": 4 / 5, "pair_accuracy": 1 / 3}


def test_videomme_multiplies_before_it_divides() -> None:
    metric = build_metric("videomme", variant="lmms-eval")
    rows = [lettered(n, n < 1, duration="short") for n in range(3)]
    result = results_of(metric, rows, ("duration",))
    assert result.by["duration"]["short"]["overall"].value == 100 * 1 / 3
    assert 100 * 1 / 3 != 1 / 3 * 100  # which is why
    interval, fraction = result.metrics["overall"].ci95, result.metrics["accuracy"].ci95
    assert interval is not None
    assert fraction is not None
    assert interval == pytest.approx([100 * bound for bound in fraction if bound is not None])


def mmmu(subject: str, number: int, right: bool) -> Row:
    sample = Sample(f"validation_{subject}_{number}", "?", choices=("cat", "dog"), answers=("A",))
    return sample, "(A)" if right else "(B)"


def test_mmmu_weighs_subjects_by_size_and_rounds() -> None:
    rows = [mmmu("Art_Theory", n, n < 2) for n in range(3)] + [mmmu("Math", n, n < 1) for n in range(4)]
    for variant, overall in (("lmms-eval", 0.42857), ("internvl", 0.429)):
        metric = build_metric("mmmu", variant=variant)
        result = metric.aggregate(scored(metric, rows))
        assert result == {"accuracy": 3 / 7, "overall": overall, "guessed": 0.0}


def test_mmmu_knows_subject_and_discipline_from_the_id() -> None:
    rows = [mmmu("Art_Theory", 1, True), mmmu("Computer_Science", 2, False), mmmu("Unheard_of", 3, True)]
    by = results_of(build_metric("mmmu", variant="internvl"), rows, ("discipline", "subject")).by
    assert {key: scores["overall"].value for key, scores in by["discipline"].items()} == {
        "(none)": 1.0,
        "Art and Design": 1.0,
        "Tech and Engineering": 0.0,
    }
    assert set(by["subject"]) == {"Art_Theory", "Computer_Science", "Unheard_of"}
    assert sum(map(len, DISCIPLINES.values())) == 30
    metadata: dict[str, JSON] = {"id": "test_Math_9"}
    assert subject_of(Sample("0", "?", metadata=metadata)) == "Math"


def test_mmmu_open_questions() -> None:
    listed = Sample(
        "validation_Math_1", "?", answers=("['12', 'twelve']",), metadata={"question_type": "open"}
    )
    several = Sample("validation_Math_1", "?", answers=("12", "twelve"))
    for sample in (listed, several):
        for variant, expected in (
            ("muster", 1.0),
            ("internvl", 1.0),
            ("lmms-eval", 0.0),
            ("vlmevalkit", 0.0),
        ):
            metric = build_metric("mmmu", variant=variant)
            assert metric.score(sample, "It is twelve.").scores["accuracy"] == expected, variant
    letters = Sample("validation_Math_1", "?", answers=("42",))
    assert build_metric("mmmu", variant="vlmevalkit").score(letters, "it is 42").scores["accuracy"] == 1.0
    assert build_metric("mmmu", variant="vlmevalkit").score(letters, "A").scores["accuracy"] == 1.0  # sic


def test_mmmu_guesses_are_counted() -> None:
    metric = build_metric("mmmu", variant="lmms-eval")
    sample = mmmu("Math", 1, True)[0]
    rows = scored(metric, [(sample, "(A)"), (sample, "no idea")])
    assert metric.aggregate(rows)["guessed"] == 0.5
    assert "guessed" not in build_metric("mmmu").info.units
    assert build_metric("mmmu").score(sample, "no idea").scores == {"accuracy": 0.0}


def numeric(answer: str, **metadata: JSON) -> Sample:
    return Sample("1", "?", answers=(answer,), metadata={"question_type": "free_form", **metadata})


def test_mathvista_prints_rounded_percent_and_nothing_for_zero() -> None:
    sample = numeric("3", answer_type="integer")
    lmms, internvl = (build_metric("mathvista", variant=variant) for variant in ("lmms-eval", "internvl"))
    rows = [(sample, "3"), (sample, "4"), (sample, "5")]
    assert lmms.aggregate(scored(lmms, rows)) == {"accuracy": 1 / 3, "average": 33.33}
    assert math.isnan(lmms.aggregate(scored(lmms, rows[1:]))["average"])
    assert internvl.aggregate(scored(internvl, rows[1:]))["average"] == 0.0


def test_mathvista_leaves_to_a_judge_what_is_the_judges() -> None:
    sample = numeric("3", answer_type="integer")
    with pytest.raises(UnscoredError, match="judge"):
        build_metric("mathvista", variant="lmms-eval").score(sample, "It is 3")
    quick = build_metric("mathvista", {"extraction": "quick"}, "lmms-eval")
    assert quick.score(sample, 'The answer is "3".').scores["accuracy"] == 1.0
    with pytest.raises(UnscoredError):
        quick.score(sample, "The answer is 3.")
    internvl = build_metric("mathvista", {"extraction": "quick"}, "internvl")
    assert internvl.score(sample, "Final answer:  3 \nor so").scores["accuracy"] == 1.0
    assert internvl.score(sample, "ANSWER: 3.7").extracted == "3"


@pytest.mark.parametrize(
    ("answer", "metadata", "text", "right"),
    [
        ("3", {"answer_type": "integer"}, "The answer is 3.", 1.0),
        ("1200", {"answer_type": "integer"}, "It costs 1,200 dollars", 1.0),
        ("3", {"answer_type": "integer"}, "4 - 1 = 3", 0.0),  # several numbers, none stated
        ("3", {"answer_type": "integer"}, "First 4, then 1. Result: 3", 1.0),
        ("0.5", {"answer_type": "float", "precision": 1.0}, "about 0.52", 1.0),
        ("-2", {"answer_type": "integer"}, "−2", 1.0),
        ("[1, 2]", {"answer_type": "list"}, " [1, 2]", 1.0),
    ],
)
def test_mathvista_by_our_own_rules(answer: str, metadata: dict[str, JSON], text: str, right: float) -> None:
    assert build_metric("mathvista").score(numeric(answer, **metadata), text).scores["accuracy"] == right


def test_mathvista_choices_by_our_own_rules() -> None:
    for answer in ("green", "B"):
        sample = Sample("1", "?", choices=("red", "green"), answers=(answer,))
        assert build_metric("mathvista").score(sample, "(B) green").scores["accuracy"] == 1.0


def figure(category: str, figure_id: int, question: int, answer: str, text: str, **more: JSON) -> Row:
    metadata: dict[str, JSON] = {"category": category, "subcategory": "map", "set_id": 0}
    metadata |= {"figure_id": figure_id, "question_id": question, **more}
    return Sample(f"{category}{figure_id}{question}{text}", "?", answers=(answer,), metadata=metadata), text


FIGURES = [
    figure("VS", 0, 0, "1", "no", verdict="2"),
    figure("VS", 0, 1, "0", "no", verdict="1"),
    figure("VS", 1, 0, "1", "yes", verdict="1"),
    figure("VS", 1, 1, "0", "yes", verdict="0"),
    figure("VD", 1, 0, "1", "Yes.", verdict="2"),
]


@pytest.mark.parametrize(
    ("variant", "params", "expected"),
    [
        ("muster", {}, {"aAcc": 3 / 5, "fAcc": 1 / 2, "qAcc": 1 / 3}),
        ("lmms-eval", {}, {"aAcc": 3 / 5, "fAcc": 1 / 3, "qAcc": 1 / 3}),
        # VLMEvalKit's groups don't know VS from VD.
        ("vlmevalkit", {}, {"aAcc": 3 / 5, "fAcc": 0.0, "qAcc": 0.0, "aAcc_percent": 60.0}),
        (
            "lmms-eval",
            {"judged": "verdict"},
            {"aAcc": 3 / 5, "fAcc": 0.0, "qAcc": 1 / 3, "qAcc_percent": 33.3333},
        ),
    ],
)
def test_hallusionbench_groups(variant: str, params: dict[str, JSON], expected: dict[str, float]) -> None:
    metric = build_metric("hallusionbench", params, variant)
    result = metric.aggregate(scored(metric, FIGURES))
    assert {name: result[name] for name in expected} == expected


def test_hallusionbench_as_vlmevalkit_has_it() -> None:
    sample = Sample("1", "?", answers=("Yes",), metadata={"l2-category": "map"})
    assert (
        build_metric("hallusionbench", variant="vlmevalkit").score(sample, "Yes!").scores["accuracy"] == 1.0
    )


def test_chartqa_splits() -> None:
    rows = [
        (Sample(str(n), "?", answers=("5",), metadata={"type": kind}), text)
        for n, (kind, text) in enumerate(
            [("human_test", "5"), ("human_test", "9"), ("augmented_test", "5"), ("other", "5"), ("x", "9")]
        )
    ]
    names = {
        "lmms-eval": ("relaxed_overall", "relaxed_human_split", "relaxed_augmented_split", 1),
        "vlmevalkit": ("overall", "test_human", "test_augmented", 100),
        "internvl": ("accuracy", "human", "augmented", 1),
    }
    for variant, (overall, human, augmented, scale) in names.items():
        metric = build_metric("relaxed_accuracy", {"split": "type"}, variant)
        result = metric.aggregate(scored(metric, rows))
        assert (result[overall], result[human], result[augmented]) == (
            3 / 5 * scale,
            1 / 2 * scale,
            2 / 3 * scale,
        )
        assert list(result) == list(metric.info.units)
        assert math.isnan(metric.aggregate(scored(metric, rows[2:]))[human])


def test_vlmevalkit_adds_in_pairs_as_numpy_does() -> None:
    generator = random.Random(1)
    values = [generator.random() for _ in range(1000)]
    sample = Sample("1", "?", answers=("a",))
    metric = build_metric("anls", variant="vlmevalkit")
    rows = [
        ScoredSample(sample, "", type(metric.score(sample, "a"))({"anls": value}, None)) for value in values
    ]
    assert sum(values) / 1000 != float(np.mean(values))
    assert metric.aggregate(rows) == {"anls": float(np.mean(values)), "overall": float(np.mean(values)) * 100}


def test_ocrbench_by_type_and_text_recognition() -> None:
    kinds = ["Regular Text Recognition", "Handwriting Recognition", "Doc-oriented VQA"]
    kinds.append("Handwritten Mathematical Expression Recognition")
    rows = [(Sample(kind, "?", answers=("x",), metadata={"question_type": kind}), "x") for kind in kinds]
    metric = build_metric("ocrbench")
    result = results_of(metric, rows, ("question_type",))
    assert (result.metrics["score"].value, result.metrics["text_recognition"].value) == (4.0, 2.0)
    assert result.metrics["final"].value == 0.004
    assert {
        kind: scores["score"].value for kind, scores in result.by["question_type"].items()
    } == dict.fromkeys(kinds, 1.0)


def boxed(number: int, right: bool, split: str) -> Row:
    metadata: dict[str, JSON] = {"width": 100, "height": 100, "bbox": [0, 0, 50, 50], "split": split}
    return Sample(
        str(number), "?", metadata=metadata
    ), "[0, 0, 500, 500]" if right else "[600, 600, 700, 700]"


def test_grounding_averages_over_splits() -> None:
    metric = build_metric("grounding")
    rows = [*(boxed(n, n < 1, "testA") for n in range(3)), boxed(3, True, "testB")]
    result = metric.aggregate(scored(metric, rows))
    assert result == {"accuracy": 0.5, "iou": 0.5, "average": (1 / 3 * 100 + 100) / 2}


def test_grounding_takes_corner_and_size() -> None:
    metric = build_metric("grounding", {"box": "xywh"}, "internvl")
    sample = Sample("1", "?", metadata={"width": 100, "height": 100, "bbox": [10, 10, 40, 40]})
    assert metric.score(sample, "[[100,100,500,500]]").scores == {"accuracy": 1.0, "iou": 1.0}
    assert metric.score(sample, "nowhere").extracted == "[0.0, 0.0, 0.0, 0.0]"


def test_realworldqa_without_options_compares_texts() -> None:
    sample = Sample("1", "?", answers=("Left lane",))
    metric = build_metric("realworldqa")
    assert metric.score(sample, " left  LANE.").scores["accuracy"] == 1.0
    assert metric.score(sample, "right").scores["accuracy"] == 0.0
    letter = Sample("2", "?", answers=("B",))  # its options stand in the question
    assert metric.score(letter, "The answer is B").scores["accuracy"] == 1.0


def test_metrics_that_know_more_categories_say_nothing_about_the_others() -> None:
    metric = build_metric("mmmu")
    assert isinstance(metric, CategorisingMetric)
    assert metric.categories(scored(metric, [mmmu("Math", 1, True)]), "topic") is None
