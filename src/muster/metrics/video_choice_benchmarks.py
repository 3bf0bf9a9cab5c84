"""Multiple-choice benchmarks of videos that the toolkits score each in their own way.

Sources: the tasks of lmms-eval, VLMEvalKit (no judge) and InternVL's scripts; the variant `muster` is our own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from muster.metrics.averages import mean
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters import longvideobench
from muster.metrics.letters.egoschema import read_egoschema
from muster.metrics.letters.lmms_eval import extract_letter
from muster.metrics.letters.mvbench import read_mvbench
from muster.metrics.letters.mvbench_first_word import (
    first_word,
    internvl_accepts,
    vlmevalkit_accepts,
)
from muster.metrics.letters.videomme import first_letter
from muster.metrics.protocol import MetricInfo, ScoredSample


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
class LongVideoBench(LetterChoice):
    """LongVideoBench (Wu et al. 2024). lmms-eval draws a letter where it finds none, and prints `overall`: the mean
    that counts each answer in its duration's group and again in its category, rounded to five digits.
    """

    name: ClassVar[str] = "longvideobench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(longvideobench.lmms_eval, guesses=True),
        "vlmevalkit": Convention(longvideobench.vlmevalkit),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    @cached_property
    def info(self) -> MetricInfo:
        """Accuracy; of lmms-eval also `overall` and the share of random guesses."""
        means = {name: name for name in ("accuracy", *self.further_means)}
        if self.variant == "lmms-eval":
            means["overall"] = "accuracy"
        return self._described("accuracy", dict.fromkeys(means, "0-1"), means)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        result = super().aggregate(rows)
        if "overall" in result:
            groups: dict[str, list[float]] = {}
            for row in rows:
                for key in ("duration_group", "question_category"):
                    group = f"{key} {row.sample.metadata.get(key)}"
                    groups.setdefault(group, []).append(row.score.scores["accuracy"])
            counted = sum(mean(scores) * len(scores) for scores in groups.values())
            result["overall"] = round(counted / sum(map(len, groups.values())), 5)
        return result


@dataclass(frozen=True, kw_only=True)
class EgoSchema(LetterChoice):
    """EgoSchema (Mangalam et al. 2023), whose five choices have their letter before them. lmms-eval draws a letter
    where it finds none.
    """

    name: ClassVar[str] = "egoschema"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(read_egoschema, guesses=True),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)


@dataclass(frozen=True, kw_only=True)
class MvBench(LetterChoice):
    """MVBench (Li et al. 2024), one of its twenty subsets. lmms-eval prints a percentage of the answers that aren't
    empty; here an empty answer is a wrong one. InternVL and VLMEvalKit ask whether the first word fits the right
    letter.
    """

    name: ClassVar[str] = "mvbench"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        "lmms-eval": Convention(read_mvbench, ignore_case=True),
        "vlmevalkit": Convention(first_word, needs_options=True, accepts=vlmevalkit_accepts),
        "internvl": Convention(first_word, accepts=internvl_accepts),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)
    percentages: ClassVar[Mapping[str, str]] = {"lmms-eval": "overall"}
