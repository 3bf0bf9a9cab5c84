"""Captions: equal to the field's implementation to the last digit, with and without Java.

Guards against a CIDEr that is nearly the published one.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError, MissingExtraError, Sample
from muster.metrics.captions import coco, tokens
from muster.metrics.captions import metric as captions_metric
from muster.metrics.captions.cider import cider
from muster.metrics.captions.metric import Captions
from muster.metrics.captions.tokens import tokenise
from muster.metrics.protocol import Metric, ScoredSample
from muster.metrics.registry import build_metric
from muster.results.additive_bootstrap import additive_replicates
from muster.results.bootstrap import Effort, row_replicates
from muster.results.statistics import estimate_metrics

WORDS = ["a", "man", "on", "the", "Horse", "red", "dog", "table", "runs", "with", "two", "kids.", "ball,"]
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
IMAGES = st.lists(
    st.tuples(SENTENCES, st.lists(SENTENCES, min_size=1, max_size=4)), min_size=1, max_size=12
).filter(
    lambda images: any(text for _, references in images for text in references)
)  # else the reference raises

needs_pycocoevalcap = pytest.mark.skipif(
    not find_spec("pycocoevalcap"), reason="the extra `captions` is not installed"
)
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java here")


def rows_of(
    metric: Captions, images: Sequence[tuple[str, Sequence[str]]], repeat: int = 0
) -> list[ScoredSample]:
    rows = []
    for number, (caption, references) in enumerate(images):
        sample = Sample(str(number), "", answers=tuple(references))
        rows.append(ScoredSample(sample, caption, metric.score(sample, caption), repeat))
    return rows


def scored(metric: Captions, rows: Sequence[ScoredSample]) -> list[ScoredSample]:
    return [replace(row, score=score) for row, score in zip(rows, metric.score_corpus(rows), strict=True)]


def captions(variant: str = "muster", **params: JSON) -> Captions:
    metric: Metric = build_metric("captions", params, variant)
    assert isinstance(metric, Captions)
    return metric


@needs_pycocoevalcap
@settings(max_examples=80, deadline=None)
@given(IMAGES)
def test_scores_equal_pycocoevalcap(images: list[tuple[str, list[str]]]) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    metric = captions("vlmevalkit", scores=["cider", "bleu", "rouge_l"])
    rows = scored(metric, rows_of(metric, images))
    result = metric.aggregate(rows)
    references = {
        number: [" ".join(text.split()) for text in image[1]] for number, image in enumerate(images)
    }
    said = {number: [" ".join(image[0].split())] for number, image in enumerate(images)}
    mean, each = Cider().compute_score(references, said)
    assert [row.score.scores["cider"] for row in rows] == list(each)
    assert result["cider"] == mean
    assert result["cider_percent"] == mean * 100
    assert [result[f"bleu_{order}"] for order in (1, 2, 3, 4)] == Bleu().compute_score(
        references, said, verbose=0
    )[0]
    assert result["rouge_l"] == Rouge().compute_score(references, said)[0]


@needs_java
@needs_pycocoevalcap
def test_the_treebank_tokeniser_is_pycocoevalcaps(capfd: pytest.CaptureFixture[str]) -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = ["A man, riding\na horse.", "", "Don't (stop) 5% U.S. café — “quoted” … ok", "  end ", "''"]
    expected = PTBTokenizer().tokenize({number: [{"caption": text}] for number, text in enumerate(texts)})
    capfd.readouterr()
    got = tokenise(texts, "ptb")
    assert [" ".join(words) for words in got] == [expected[number][0] for number in range(len(texts))]
    assert capfd.readouterr() == ("", "")  # Java's own report of its speed doesn't reach the terminal


@needs_java
@needs_pycocoevalcap
def test_a_line_break_of_any_kind_does_not_shift_the_captions() -> None:
    assert tokenise(["one\u2028two\rthree\x0b", "four"], "ptb") == [["one", "two", "three"], ["four"]]


@needs_java
@needs_pycocoevalcap
def test_conventions_differ_by_their_tokeniser_alone() -> None:
    images = [
        ("A man rides a horse.", ["a man rides a horse", "Man on a horse!"]),
        ("Two kids play, with a ball", ["two kids play with a ball"]),
        ("A dog", ["the red dog runs"]),
    ]
    values = {}
    for variant in ("muster", "lmms-eval", "internvl", "vlmevalkit"):
        metric = captions(variant)
        values[variant] = metric.aggregate(scored(metric, rows_of(metric, images)))["cider"]
    assert values["lmms-eval"] == values["internvl"] == values["muster"] > values["vlmevalkit"] > 0


@pytest.mark.parametrize(("caption", "value"), [("a cat\non a mat", 0.6536), ("a cat on a mat", 1.0)])
def test_vlmevalkits_rouge_splits_at_single_blanks_only(caption: str, value: float) -> None:
    for variant, expected in (("vlmevalkit", value), ("muster", 1.0)):
        metric = captions(variant, scores=["rouge_l"])
        [row] = scored(metric, rows_of(metric, [(caption, ["a cat on a mat", "a cat lies on a mat"])]))
        assert row.score.scores["rouge_l"] == pytest.approx(expected, abs=1e-4)


def test_a_toolkit_is_offered_for_the_captions_that_it_evaluates() -> None:
    with pytest.raises(ConfigurationError, match="doesn't evaluate it"):
        captions("vlmevalkit", benchmark="textcaps")
    assert set(captions("vlmevalkit", scores=["meteor", "rouge_l"]).info.units) == {
        "rouge_l",
        "rouge_l_percent",
    }


def test_meteor_is_a_corpus_score_without_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real one loads for twenty seconds: here is only what is asked of it, and that no resample asks again.
    asked: list[tuple[list[str], list[list[str]]]] = []

    def meteor(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        asked.append((list(said), [list(of_image) for of_image in references]))
        return 0.5

    monkeypatch.setattr(coco, "corpus_meteor", meteor)
    metric = captions("muster", scores=["meteor"])
    rows = scored(metric, rows_of(metric, [("A dog runs.", ["a dog is running"]), ("A cat", ["the cat"])]))
    estimate = estimate_metrics(metric, rows, ["1", "2"])["meteor"]
    assert (estimate.value, estimate.stderr, estimate.ci95) == (0.5, None, None)
    assert asked == [(["a dog runs", "a cat"], [["a dog is running"], ["the cat"]])]


def test_cider_knows_a_single_image_and_images_without_references() -> None:
    assert cider([], []) == []
    assert cider([["a", "dog"]], [[["a", "dog"]]]) == [0.0]
    perfect = cider([["a", "b", "c", "d"], ["x"]], [[["a", "b", "c", "d"]], []])
    assert perfect == [pytest.approx(10.0), 0.0]


def test_repeats_are_corpora_of_their_own() -> None:
    metric = captions()
    images = [("a dog", ["a dog runs"]), ("two kids", ["two kids play"]), ("red ball", ["a ball"])]
    once = scored(metric, rows_of(metric, images))
    twice = scored(metric, [*rows_of(metric, images), *rows_of(metric, images, repeat=1)])
    assert [row.score for row in twice] == [row.score for row in once] * 2


@needs_pycocoevalcap
def test_bleu_of_sums_is_bleu_of_the_rows() -> None:
    generator = random.Random(4)

    def sentence() -> str:
        return " ".join(generator.choices(WORDS, k=generator.randrange(12)))

    metric = captions("vlmevalkit", scores=["bleu"])
    rows = scored(metric, rows_of(metric, [(sentence(), [sentence(), sentence()]) for _ in range(40)]))
    clusters = [str(number) for number in range(len(rows))]
    chosen = Effort(20, 1.0)
    fast = additive_replicates(metric.additive_terms(rows), clusters, chosen)
    slow = row_replicates(metric.aggregate, rows, clusters, chosen)
    assert fast is not None
    assert set(fast) == set(slow)
    for name, values in fast.items():
        assert np.allclose(values, slow[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("module", "java", "params", "error", "message"),
    [
        ("x", None, {"variant": "lmms-eval"}, ConfigurationError, "needs Java, .* install a Java runtime"),
        (None, "/java", {"variant": "internvl"}, MissingExtraError, r"'\.\[captions\]"),
        (None, "/java", {"scores": ("bleu",)}, MissingExtraError, r"'\.\[captions\]"),
        ("x", None, {"scores": ("meteor",)}, ConfigurationError, "METEOR needs Java"),
    ],
)
def test_what_is_missing_is_told_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
    module: str | None,
    java: str | None,
    params: dict[str, object],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: java)
    for place in (tokens, captions_metric):
        monkeypatch.setattr(place, "find_spec", lambda _: module)
    Captions().check()
    with pytest.raises(error, match=message):
        replace(Captions(), **params).check()  # type: ignore[arg-type]
