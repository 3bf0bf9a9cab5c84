"""MME (Fu et al. 2023): two yes/no questions per image, accuracy, accuracy+ and points.

A category earns 100 points for its accuracy and 100 for its accuracy+, the share of images whose questions are
all right. Variants after the authors' `calculation.py` (`official`), lmms-eval, InternVL's scripts and VLMEvalKit's
`MME_rating`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.core import Sample
from muster.metrics import verdicts
from muster.metrics.averages import mean, mean_score
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios
from muster.metrics.variants import VariantMetric
from muster.metrics.verdicts import VerdictReader

if TYPE_CHECKING:
    from muster.metrics.terms import Array

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")

_READERS: dict[str, VerdictReader] = {
    "muster": verdicts.muster,
    "official": verdicts.official_mme,
    "lmms-eval": verdicts.lmms_eval_mme,
    "internvl": verdicts.internvl_mme,
    "vlmevalkit": verdicts.vlmevalkit,
}


_ImageKey = tuple[Hashable, int]
"""Which answers belong together: those of one image and repeat (and so of one copy in a resample)."""


@dataclass(slots=True)
class _Category:
    answers: list[float] = field(default_factory=list)
    images: dict[_ImageKey, list[float]] = field(default_factory=dict)

    def add(self, key: _ImageKey, score: float) -> None:
        self.answers.append(score)
        of_image = self.images.get(key)
        if of_image is None:
            self.images[key] = [score]
        else:
            of_image.append(score)

    def plus(self) -> list[float]:
        """1 for each image with all questions right. A pair with one answer missing is not complete: 0."""
        return [float(len(answers) > 1 and all(answers)) for answers in self.images.values()]

    def points(self) -> float:
        """0-200: accuracy over the questions and accuracy+ over the images, times 100 each."""
        return mean(self.answers) * 100 + mean(self.plus()) * 100

    def points_by_image(self) -> float:
        """The same, summed image by image as lmms-eval does: equal on pairs but for the last bits."""
        both = zip(self.images.values(), self.plus(), strict=True)
        return mean(plus * 100.0 + mean(answers) * 100.0 for answers, plus in both)


@dataclass(frozen=True, kw_only=True)
class Mme(VariantMetric):
    """MME's scores.

    `group` is the metadata key that identifies the image (default: the media themselves), `category` the one
    that names the category (default: all one category). `official_categories` adds the points of MME's ten
    perception and four cognition categories as aggregates of their own.
    """

    name: ClassVar[str] = "mme"
    variants: ClassVar[tuple[str, ...]] = tuple(_READERS)

    variant: str = "muster"
    group: str | None = None
    category: str | None = "category"
    official_categories: bool = False
    _media_groups: dict[int, tuple[Sample, Hashable]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy, accuracy+ and points."""
        units = {"accuracy": "0-1", "accuracy_plus": "0-1", "score": "points"}
        if self.official_categories:
            units |= {"perception": "points", "cognition": "points"}
        return self._described("score", units, {"accuracy": "accuracy"})

    def has_reference(self, sample: Sample) -> bool:
        """Whether the right answer is yes or no."""
        return bool(sample.answers) and verdicts.gold(sample.answer) is not None

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1; `extracted` is yes, no or None."""
        said, right = _READERS[self.variant](prediction), verdicts.gold(sample.answer)
        return Score({"accuracy": float(right is not None and said == right)}, said)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy over the questions, accuracy+ over the images, points summed over the categories."""
        categories: dict[str, _Category] = {}
        for row in rows:
            name = self._category_of(row.sample)
            category = categories.get(name)
            if category is None:
                category = categories[name] = _Category()
            category.add((self._group_of(row.sample), row.repeat), row.score.scores["accuracy"])
        result = {
            "accuracy": mean_score(rows, "accuracy"),
            "accuracy_plus": mean(plus for category in categories.values() for plus in category.plus()),
            "score": self._points(categories, categories),
        }
        if self.official_categories:
            result["perception"] = self._points(categories, PERCEPTION)
            result["cognition"] = self._points(categories, COGNITION)
        return result

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per image: its questions, the right ones, 1, whether all are right, the share of right ones."""
        import numpy as np

        images: dict[tuple[str, Hashable, int], int] = {}
        units = numbered(
            ((self._category_of(row.sample), self._group_of(row.sample), row.repeat) for row in rows), images
        )
        scores = [row.score.scores["accuracy"] for row in rows]
        questions, right = np.bincount(units), np.bincount(units, weights=scores)
        complete = (questions > 1) & (right == questions)
        values = np.stack([questions, right, np.ones(len(images)), complete, right / questions], axis=1)
        categories: dict[str, int] = {}
        strata = numbered((category for category, _, _ in images), categories)
        return Terms(units, values, strata, lambda sums: self._of_sums(sums, categories))

    def _of_sums(self, sums: Array, categories: dict[str, int]) -> dict[str, Array]:
        questions, right, images, complete, shares = (sums[..., term] for term in range(5))
        by_image = self.variant == "lmms-eval"
        accuracy = ratios(shares, images) if by_image else ratios(right, questions)
        points = (accuracy + ratios(complete, images)) * 100
        result = {
            "accuracy_plus": ratios(complete.sum(axis=1), images.sum(axis=1)),
            "score": points.sum(axis=1),
        }
        if self.official_categories:
            for name, official in (("perception", PERCEPTION), ("cognition", COGNITION)):
                columns = [categories[category] for category in official if category in categories]
                result[name] = points[:, columns].sum(axis=1)
        return result

    def _points(self, categories: dict[str, _Category], names: Iterable[str]) -> float:
        """Summed in the reference's own order, which decides the last bit."""
        if self.variant == "lmms-eval":
            wanted = set(names)
            return sum(
                (category.points_by_image() for name, category in categories.items() if name in wanted), 0.0
            )
        ordered = sorted(names) if self.variant == "vlmevalkit" else list(names)
        return sum((categories[name].points() for name in ordered if name in categories), 0.0)

    def _category_of(self, sample: Sample) -> str:
        return "" if self.category is None else str(sample.metadata.get(self.category, ""))

    def _group_of(self, sample: Sample) -> Hashable:
        if self.group is not None:
            return str(sample.metadata.get(self.group, sample.id))
        # Aggregation runs many times over the same samples (bootstrap) and hashing images is not cheap, so
        # identities are remembered per sample object; the reference kept keeps its id() from being reused.
        known = self._media_groups.get(id(sample))
        if known is None:
            media = (*sample.images, *sample.videos)
            group = tuple(item.identity for item in media) if media else sample.id
            known = self._media_groups[id(sample)] = (sample, group)
        return known[1]
