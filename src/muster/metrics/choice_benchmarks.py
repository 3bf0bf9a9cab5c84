"""Multiple-choice benchmarks that the toolkits score each in their own way.

Sources: the tasks of lmms-eval, VLMEvalKit's `can_infer` (no judge) and InternVL's scripts for these benchmarks; the
variant `muster` is our own. A benchmark has the variants of the toolkits that have a convention of their own for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from muster.metrics.averages import mean, mean_score
from muster.metrics.exact_match import lmms_eval_normal
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters.first_character import raw_first, stripped_first
from muster.metrics.letters.internvl import post_process_scienceqa
from muster.metrics.letters.lmms_eval import LETTERS, extract_letter
from muster.metrics.letters.mvbench import read_mvbench
from muster.metrics.letters.videomme import first_letter
from muster.metrics.letters.vlmevalkit import infer_letter
from muster.metrics.protocol import MetricInfo, ScoredSample
from muster.metrics.terms import Terms, numbered, ratios

if TYPE_CHECKING:
    from muster.metrics.terms import Array

_LEADING_LETTER = re.compile(r"^\s*([A-Z])\.")


@dataclass(frozen=True, kw_only=True)
class RealWorldQa(LetterChoice):
    """RealWorldQA (xAI 2024): letters, or short answers where there are no options."""

    name: ClassVar[str] = "realworldqa"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter, compares_text_beyond=LETTERS),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


def _ai2d_lmms_eval(text: str, _options: Mapping[str, str]) -> str:
    found = _LEADING_LETTER.search(text)
    return lmms_eval_normal(found.group(1) if found else text.strip())


def _strip_lower(text: str, _options: Mapping[str, str]) -> str:
    return text.strip().lower()


@dataclass(frozen=True, kw_only=True)
class Ai2d(LetterChoice):
    """AI2D (Kembhavi et al. 2016). lmms-eval and InternVL compare the answer with the letter, as text."""

    name: ClassVar[str] = "ai2d"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(_ai2d_lmms_eval, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(_strip_lower, ignore_case=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class SeedBench(LetterChoice):
    """SEED-Bench (Li et al. 2023): one letter. Images and videos apart: a breakdown by `data_type`."""

    name: ClassVar[str] = "seedbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(stripped_first, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(raw_first),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


def _letter_or_labelled(text: str, _options: Mapping[str, str]) -> str:
    text = text.strip()
    return text[0] if len(text) > 1 and text[0].isupper() and text[1] == "." else text


@dataclass(frozen=True, kw_only=True)
class ScienceQa(LetterChoice):
    """ScienceQA (Lu et al. 2022)."""

    name: ClassVar[str] = "scienceqa"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(_letter_or_labelled, ignore_case=True),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
        "internvl": Convention(post_process_scienceqa),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class VideoMme(LetterChoice):
    """Video-MME (Fu et al. 2024). Durations apart: a breakdown by `duration`. lmms-eval prints a percentage."""

    name: ClassVar[str] = "videomme"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter),
        "vlmevalkit": Convention(first_letter),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    percentages: ClassVar[Mapping[str, str]] = {"lmms-eval": "overall"}

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy, and for lmms-eval `overall`: 100 * correct / answered, in this order."""
        result = super().aggregate(rows)
        if "overall" in result:
            result["overall"] = 100 * sum(row.score.scores["accuracy"] for row in rows) / len(rows)
        return result


@dataclass(frozen=True, kw_only=True)
class MvBench(LetterChoice):
    """MVBench (Li et al. 2024), one of its twenty subsets. lmms-eval prints a percentage of the answers that aren't
    empty; here an empty answer is a wrong one.
    """

    name: ClassVar[str] = "mvbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(read_mvbench),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    percentages: ClassVar[Mapping[str, str]] = {"lmms-eval": "overall"}


@dataclass(frozen=True, kw_only=True)
class Mmvp(LetterChoice):
    """MMVP (Tong et al. 2024): two images that look alike to CLIP, one question; a pair counts where both are right.

    `pair` is the metadata key that both have in common. VLMEvalKit prints `pair_accuracy` as "Overall".
    """

    name: ClassVar[str] = "mmvp"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    pair: str = "pair"

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy over the pairs and over the questions."""
        units = {"accuracy": "0-1", "pair_accuracy": "0-1"}
        return self._described("pair_accuracy", units, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """A pair of which only one question was answered doesn't count as right."""
        pairs: dict[tuple[str, int], list[float]] = {}
        for row in rows:
            key = (str(row.sample.metadata.get(self.pair)), row.repeat)
            pairs.setdefault(key, []).append(row.score.scores["accuracy"])
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "pair_accuracy": mean(float(len(both) > 1 and all(both)) for both in pairs.values()),
        }


@dataclass(frozen=True, kw_only=True)
class MmStar(LetterChoice):
    """MMStar (Chen et al. 2024). `average` is the unweighted mean over the second-level categories' accuracies.

    That is lmms-eval's score; VLMEvalKit's is the mean over the questions. The score of a category is that of a
    breakdown by `category`. `macro` is the metadata key of the second-level category.
    """

    name: ClassVar[str] = "mmstar"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(extract_letter),
        "vlmevalkit": Convention(infer_letter, needs_options=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    macro: str = "l2_category"

    @cached_property
    def info(self) -> MetricInfo:
        """Micro and macro average."""
        primary = "average" if self.variant == "lmms-eval" else "accuracy"
        return self._described(primary, {"accuracy": "0-1", "average": "0-1"}, {"accuracy": "accuracy"})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Accuracy over the questions, and its average over the second-level categories in order of appearance."""
        categories: dict[str, list[float]] = {}
        for row in rows:
            categories.setdefault(self._category_of(row), []).append(row.score.scores["accuracy"])
        return {
            "accuracy": mean_score(rows, "accuracy"),
            "average": mean(mean(scores) for scores in categories.values()),
        }

    def additive_terms(self, rows: Sequence[ScoredSample]) -> Terms:
        """Per row: 1 and its score, apart for each category."""
        import numpy as np

        scores = np.array([row.score.scores["accuracy"] for row in rows])
        values = np.stack([np.ones(len(rows)), scores], axis=1)
        return Terms(np.arange(len(rows)), values, numbered(map(self._category_of, rows), {}), _macro_average)

    def _category_of(self, row: ScoredSample) -> str:
        return str(row.sample.metadata.get(self.macro))


def _macro_average(sums: Array) -> dict[str, Array]:
    questions, right = sums[..., 0], sums[..., 1]
    return {"average": ratios(right, questions).sum(axis=1) / (questions > 0).sum(axis=1)}
