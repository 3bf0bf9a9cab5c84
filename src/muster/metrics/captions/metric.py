"""Captions (COCO, Flickr30k, NoCaps, TextCaps): CIDEr, and on request BLEU, ROUGE-L and METEOR.

lmms-eval and InternVL score through pycocoevalcap with the Penn Treebank tokeniser, which needs Java; VLMEvalKit uses
no tokeniser, prints percentages and has no METEOR. The default `muster` has a tokeniser of its own and needs no Java;
its scores are close to the first, and not equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar, Literal

from muster.core import MissingExtraError, Sample
from muster.metrics.averages import numpy_mean
from muster.metrics.captions import coco
from muster.metrics.captions.cider import cider
from muster.metrics.captions.tokens import WITHOUT_JAVA, Tokeniser, check_java, tokenise
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.terms import Terms
from muster.metrics.variants import VariantMetric

if TYPE_CHECKING:
    from muster.metrics.terms import Array

Wanted = Literal["cider", "bleu", "rouge_l", "meteor"]

Benchmark = Literal["coco", "flickr30k", "nocaps", "textcaps"]
_ALSO_OFFERED: Mapping[Benchmark, tuple[str, ...]] = {
    "coco": ("internvl", "vlmevalkit"),
    "flickr30k": ("internvl",),
    "nocaps": ("internvl",),
    "textcaps": (),
}
"""Beside our own variant and lmms-eval's."""

_TOKENISERS: dict[str, Tokeniser] = {
    "muster": "words",
    "lmms-eval": "ptb",
    "internvl": "ptb",
    "vlmevalkit": "raw",
}


@dataclass(frozen=True, kw_only=True)
class Captions(VariantMetric):
    """Scores of captions against a sample's answers, the references; `scores` says which.

    `cider` is 0 to 10 and the mean over the images, whose document frequencies are those of all answered images (per
    repeat); `bleu_1` to `bleu_4` and `meteor` are of the corpus, `rouge_l` is a mean, all 0-1. All but CIDEr need the
    extra `captions`, and METEOR and the variants `lmms-eval` and `internvl` need Java. Not every toolkit evaluates
    every `benchmark`.
    """

    name: ClassVar[str] = "captions"
    version: ClassVar[int] = 2
    variants: ClassVar[tuple[str, ...]] = tuple(_TOKENISERS)

    variant: str = "muster"
    scores: tuple[Wanted, ...] = ("cider",)
    benchmark: Benchmark = "coco"
    _references: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By sample id, as tokens with blanks between them."""
    _counts: dict[tuple[str, str], coco.Counts] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """For BLEU, by sample id and caption."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The toolkits that evaluate this benchmark; VLMEvalKit has no METEOR."""
        names = ("muster", "lmms-eval", *_ALSO_OFFERED[self.benchmark])
        return tuple(name for name in names if name != "vlmevalkit" or set(self.scores) != {"meteor"})

    @cached_property
    def info(self) -> MetricInfo:
        """The scores that are wanted, and VLMEvalKit's percentages."""
        names = [
            name for wanted in self._wanted for name in (coco.BLEU if wanted == "bleu" else (str(wanted),))
        ]
        units = {name: "0-10" if name == "cider" else "0-1" for name in names}
        means = {name: name for name in names if name in ("cider", "rouge_l")}
        if self.variant == "vlmevalkit":
            units |= {f"{name}_percent": "percent" for name in names}
            means |= {f"{name}_percent": name for name in means}
        return self._described(names[0], units, means)

    @property
    def _wanted(self) -> tuple[Wanted, ...]:
        """VLMEvalKit has no METEOR."""
        return tuple(name for name in self.scores if name != "meteor" or self.variant != "vlmevalkit")

    def check(self) -> None:
        """Raise `ConfigurationError` where Java or pycocoevalcap is needed and missing."""
        if _TOKENISERS[self.variant] == "ptb":
            check_java(f"captions, scoring variant {self.variant},", WITHOUT_JAVA)
        if "meteor" in self._wanted:
            check_java("METEOR", "leave meteor out of the task's `scores`")
        if set(self._wanted) - {"cider"} and find_spec("pycocoevalcap") is None:
            raise MissingExtraError("BLEU, ROUGE-L or METEOR", "captions")

    def score(self, sample: Sample, prediction: str) -> Score:  # noqa: ARG002
        """Nothing yet: an answer's scores depend on all answers, and are those of `score_corpus`."""
        return Score({}, prediction)

    def score_corpus(self, rows: Sequence[ScoredSample]) -> list[Score]:
        """Each answer's `cider` and `rouge_l`, as wanted; `extracted` are its tokens."""
        captions = self._tokenise(rows)
        references = [self._references[row.sample.id] for row in rows]
        columns: dict[str, list[float]] = {}
        if "cider" in self._wanted:
            columns["cider"] = _cider_by_repeat(rows, captions, references)
        if "rouge_l" in self._wanted:
            columns["rouge_l"] = self._rouge_l(rows, captions, references)
        return [
            Score({name: values[number] for name, values in columns.items()}, caption)
            for number, caption in enumerate(captions)
        ]

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`, over rows that `score_corpus` has scored."""
        values: dict[str, float] = {
            name: numpy_mean(row.score.scores[name] for row in rows)
            for name in ("cider", "rouge_l")
            if name in self._wanted
        }
        if "bleu" in self._wanted:
            values |= coco.corpus_bleu(
                [self._bleu_counts(row) for row in rows if self._references[row.sample.id]]
            )
        if "meteor" in self._wanted:
            captions = [row.score.extracted or "" for row in rows]
            values["meteor"] = coco.corpus_meteor(captions, [self._references[row.sample.id] for row in rows])
        return {
            name: values[name.removesuffix("_percent")] * (100 if unit == "percent" else 1)
            for name, unit in self.info.units.items()
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """BLEU's counts. METEOR is Java's, and has no resamples: its terms are NaN."""
        import numpy as np

        nothing = [0.0] * len(coco.bleu_terms(_NO_COUNTS))
        values = np.array(
            [
                coco.bleu_terms(self._bleu_counts(row))
                if "bleu" in self._wanted and self._references[row.sample.id]
                else nothing
                for row in rows
            ],
            dtype=np.float64,
        )
        return Terms(np.arange(len(rows)), values, np.zeros(len(rows), dtype=np.int64), self._of_sums)

    def _of_sums(self, sums: Array) -> dict[str, Array]:
        import numpy as np

        total = sums.sum(axis=1)
        values = dict(coco.bleu_of_sums(total)) if "bleu" in self._wanted else {}
        if "meteor" in self._wanted:
            values["meteor"] = np.full(len(total), np.nan)
        return {
            name: values[name.removesuffix("_percent")] * (100 if unit == "percent" else 1)
            for name, unit in self.info.units.items()
            if name not in self.info.means
        }

    def _tokenise(self, rows: Sequence[ScoredSample]) -> list[str]:
        """The captions as tokens with blanks between them; remembers the references, tokenised at the same time."""
        samples = {row.sample.id: row.sample for row in rows}
        texts = [row.prediction for row in rows]
        texts += [answer for sample in samples.values() for answer in sample.answers]
        tokens = iter(" ".join(words) for words in tokenise(texts, _TOKENISERS[self.variant]))
        captions = [next(tokens) for _ in rows]
        for sample in samples.values():
            self._references[sample.id] = [next(tokens) for _ in sample.answers]
        return captions

    def _rouge_l(
        self, rows: Sequence[ScoredSample], captions: Sequence[str], references: Sequence[Sequence[str]]
    ) -> list[float]:
        """Without a tokeniser ROUGE-L is given the texts as they are, and splits them at single blanks only (sic)."""
        if _TOKENISERS[self.variant] == "raw":
            return coco.rouge_l([row.prediction for row in rows], [row.sample.answers for row in rows])
        return coco.rouge_l(captions, references)

    def _bleu_counts(self, row: ScoredSample) -> coco.Counts:
        key = (row.sample.id, row.score.extracted or "")
        known = self._counts.get(key)
        if known is None:
            known = self._counts[key] = coco.bleu_counts(key[1], self._references[row.sample.id])
        return known


_NO_COUNTS: coco.Counts = {"testlen": 0, "reflen": [0], "guess": [0] * 4, "correct": [0] * 4}


def _cider_by_repeat(
    rows: Sequence[ScoredSample], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """Every repeat is a corpus of its own: an image that was answered twice is no second document."""
    repeats: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        repeats.setdefault(row.repeat, []).append(number)
    values = [0.0] * len(rows)
    for numbers in repeats.values():
        scores = cider(
            [captions[number].split() for number in numbers],
            [[text.split() for text in references[number]] for number in numbers],
        )
        for number, score in zip(numbers, scores, strict=True):
            values[number] = score
    return values
