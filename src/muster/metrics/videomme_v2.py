"""Video-MME-v2 (Fu et al. 2026): four questions per video, scored as a group, more than in proportion.

Groups of related questions (`relevance`) earn the square of the share that is right. In chains (`logic`) only the right
answers before the first wrong one count, where the structure says which questions are steps of equal rank. Sources: the
authors' script (`official`) and lmms-eval's task; the variant `muster` reads letters by our own rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.letter_choice import OWN, Convention, LetterChoice
from muster.metrics.letters import videomme_v2 as letters
from muster.metrics.protocol import MetricInfo, Score, ScoredSample

_OFFICIAL = "official"
_UNREADABLE = -1
_FULL = 100.0
_SQUARES = (0.0, _FULL / 16, _FULL * 4 / 16, _FULL * 9 / 16, _FULL)
_CHAINS: Mapping[str, Sequence[float]] = {
    "[1,2,3,4]": _SQUARES,
    "[1,[2,3],4]": (0.0, _FULL / 12, _FULL * 4 / 12, _FULL * 7 / 12, _FULL),
    "[[1,2],3,4]": (0.0, _FULL / 10, _FULL * 2 / 10, _FULL * 5 / 10, _FULL),
}
_SIZE = 4
_GROUPS = ("relevance", "logic")
_LEVELS = ("1", "2", "3")


class _Group(NamedTuple):
    last: Sample
    points: float


@dataclass(frozen=True, kw_only=True)
class VideoMmeV2(LetterChoice):
    """`score`, the mean over the groups in percent, the same of `relevance`, `logic` and each `level`; `accuracy`.

    Metadata keys: `video`, whose questions are a group, `question_id`, which ends in its place in it (`001-3`),
    `group_type`, `group_structure` and `level`, of which the last question's count. A question without an answer is a
    wrong one. In the authors' script an answer without any of the letters A to H is minus one, which takes one right
    answer off a group of related questions, and passes for a right one in a chain.
    """

    name: ClassVar[str] = "videomme_v2"
    conventions: ClassVar[Mapping[str, Convention]] = {
        "muster": OWN,
        _OFFICIAL: Convention(letters.official),
        "lmms-eval": Convention(letters.lmms_eval),
    }
    variants: ClassVar[tuple[str, ...]] = tuple(conventions)

    video: str = "video"

    @cached_property
    def info(self) -> MetricInfo:
        """Group scores in percent, and the accuracy over questions."""
        units = dict.fromkeys(("score", *_GROUPS, *(f"level_{level}" for level in _LEVELS)), "percent")
        return self._described("score", units | {"accuracy": "0-1"}, {"accuracy": "accuracy"})

    def score(self, sample: Sample, prediction: str) -> Score:
        """`accuracy` 0 or 1, and `link`, what it counts in its group."""
        score = super().score(sample, prediction)
        unreadable = self.variant == _OFFICIAL and score.extracted is None
        link = float(_UNREADABLE) if unreadable else score.scores["accuracy"]
        return Score({**score.scores, "link": link}, score.extracted)

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for a kind of group that there isn't."""
        groups = self._groups(rows)
        result = {"score": mean(group.points for group in groups), "accuracy": mean_score(rows, "accuracy")}
        for kind in _GROUPS:
            result[kind] = _mean_where(groups, "group_type", kind)
        for level in _LEVELS:
            result[f"level_{level}"] = _mean_where(groups, "level", level)
        return {name: result[name] for name in self.info.units}

    def _groups(self, rows: Sequence[ScoredSample]) -> list[_Group]:
        videos: dict[tuple[str, int], list[ScoredSample]] = {}
        for row in rows:
            videos.setdefault((str(row.sample.metadata.get(self.video)), row.repeat), []).append(row)
        groups = []
        for answers in videos.values():
            ordered = sorted(answers, key=lambda row: _place(row.sample))
            links = [0.0] * _SIZE
            for row in ordered:
                links[_place(row.sample)] = row.score.scores["link"]
            last = ordered[-1].sample
            groups.append(_Group(last, _points(links, last)))
        return groups


def _place(sample: Sample) -> int:
    number = str(sample.metadata.get("question_id", sample.id)).rpartition("-")[2]
    return min(max(int(number) - 1, 0), _SIZE - 1) if number.isdecimal() and len(number) < 6 else 0


def _mean_where(groups: Sequence[_Group], key: str, value: str) -> float:
    points = [group.points for group in groups if str(group.last.metadata.get(key)) == value]
    return mean(points) if points else float("nan")


def _points(links: Sequence[float], last: Sample) -> float:
    if last.metadata.get("group_type") == "relevance":
        right = int(sum(links))
        return _SQUARES[right] if right > 0 else 0.0
    structure = str(last.metadata.get("group_structure")).replace(" ", "")
    reached = next((place for place, link in enumerate(links) if not link), _SIZE)
    if structure == "[1,[2,3],4]" and reached == 1 and links[2]:
        reached += 1
    if structure == "[[1,2],3,4]" and reached == 0 and links[1]:
        reached += 1
    return _CHAINS.get(structure, _SQUARES)[reached]
