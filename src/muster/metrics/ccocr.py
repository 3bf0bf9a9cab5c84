"""CC-OCR (Yang et al. 2024): four tracks of reading: scenes, languages, documents, and key information.

Source: the authors' evaluation (`official`). A track's score is the mean over its subsets; each is rounded nowhere, and
the small numbers that the authors add to denominators are theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from muster.core import Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.ccocr_fields import field_scores, read_json
from muster.metrics.documents.edit_distance import check_documents, distance
from muster.metrics.documents.tables import teds
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.variants import VariantMetric

Track = Literal["multi_scene_ocr", "multi_lan_ocr", "doc_parsing", "kie"]
_READING = ("multi_scene_ocr", "multi_lan_ocr")
_WORDS = ("right", "of_truth", "of_answer")
_FIELDS = ("right", "wrong")
_OF_WORDS, _OF_FIELDS, _TINY = 1e-9, 1e-6, 1e-9
_BY_CHARACTER = ("Arabic", "Japanese", "Korean")
_NOT_ALPHANUMERIC = re.compile("[^A-Za-z0-9]+")
_PREAMBLE = [
    re.compile(pattern)
    for pattern in (
        r"\\documentclass\{.*?\}",
        r"\\usepackage\[.*?\]\{.*?\}",
        r"\\usepackage\{.*?\}",
        r"\\geometry\{.*?\}",
        r"\\begin\{document\}",
        r"\\end\{document\}",
        r"\\noindent",
    )
]
_TABLE = re.compile(r"<table.*?>.*?</table>", re.DOTALL)
_TABLE_TAG = re.compile(r"<table.*?>")
_BETWEEN_TAGS = re.compile(r">\s+<")
_IN_TAGS = re.compile(r">(.*?)<", re.DOTALL)
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


@dataclass(frozen=True, kw_only=True)
class CcOcr(VariantMetric):
    """`average` over the subsets of a `track`, and `score`, the mean over the answers.

    Of texts it is macro F1, and there is `micro_f1`; of key information nTED accuracy, and there is `f1`. Metadata
    keys: `dataset`, the subset; `op`, of documents what is parsed.
    """

    name: ClassVar[str] = "ccocr"
    variants: ClassVar[tuple[str, ...]] = ("official",)
    reads_answers: ClassVar[bool] = False

    variant: str = "official"
    track: Track = "multi_scene_ocr"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        further = ("micro_f1",) if self.track in _READING else ("f1",) if self.track == "kie" else ()
        return self._described(
            "average", dict.fromkeys(("average", "score", *further), "0-1"), {"score": "score"}
        )

    def check(self) -> None:
        """Raise `MissingExtraError` where the extra `documents` isn't installed."""
        check_documents("CC-OCR")

    def score(self, sample: Sample, prediction: str) -> Score:
        """`score` 0 to 1, and of texts and fields how many are right and how many there are."""
        if self.track in _READING:
            return self._words(sample, prediction)
        if self.track == "kie":
            return _fields(sample, prediction)
        rule = _PARSERS.get(str(sample.metadata.get("op")))
        return Score({"score": rule(sample.answer, prediction) if rule and sample.answer else 0.0})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`."""
        subsets: dict[str, list[ScoredSample]] = {}
        for row in rows:
            subsets.setdefault(str(row.sample.metadata.get("dataset")), []).append(row)
        result = {
            "average": mean(self._subset(some) for some in subsets.values()),
            "score": mean_score(rows, "score"),
        }
        if self.track in _READING:
            result["micro_f1"] = mean(_micro_f1(some) for some in subsets.values())
        if self.track == "kie":
            result["f1"] = mean(_field_f1(some) for some in subsets.values())
        return result

    def _subset(self, rows: Sequence[ScoredSample]) -> float:
        tiny = {"kie": _OF_FIELDS, "doc_parsing": 0.0}.get(self.track, _OF_WORDS)
        return sum(row.score.scores["score"] for row in rows) / (len(rows) + tiny)

    def _words(self, sample: Sample, prediction: str) -> Score:
        subset = str(sample.metadata.get("dataset"))
        by_word = subset not in _BY_CHARACTER and "zh" not in subset
        alphanumeric = by_word and self.track == "multi_scene_ocr"
        truth, said = (_tokens(text, by_word, alphanumeric) for text in (sample.answer, prediction))
        right = sum((Counter(truth) & Counter(said)).values())
        recall, precision = right / (len(truth) + _TINY), right / (len(said) + _TINY)
        f1 = 2 * recall * precision / (recall + precision + _TINY)
        return Score({"score": f1, **_counted(_WORDS, right, len(truth), len(said))})


def _counted(names: Sequence[str], *counts: int) -> dict[str, float]:
    return {name: float(count) for name, count in zip(names, counts, strict=True)}


def _total(rows: Sequence[ScoredSample], name: str) -> float:
    return sum(row.score.scores[name] for row in rows)


def _micro_f1(rows: Sequence[ScoredSample]) -> float:
    right, truth, said = (_total(rows, name) for name in _WORDS)
    recall, precision = right / (truth + _TINY), right / (said + _TINY)
    return 2 * recall * precision / (recall + precision + _TINY)


def _field_f1(rows: Sequence[ScoredSample]) -> float:
    right, wrong = _total(rows, "right"), _total(rows, "wrong")
    return right / (right + wrong / 2 + _OF_FIELDS)


def _tokens(text: str, by_word: bool, alphanumeric: bool) -> list[str]:
    plain = text.strip().replace("\t", " ").replace("\n", " ").replace("###", "").replace("***", "")
    plain = re.sub(r"\s+", " ", plain)
    tokens = plain.split(" ") if by_word else list(plain.replace(" ", ""))
    lowered = (token.lower() for token in tokens)
    kept = (_NOT_ALPHANUMERIC.sub("", token) for token in lowered) if alphanumeric else lowered
    return [token for token in kept if token]


def _fields(sample: Sample, prediction: str) -> Score:
    truth = read_json(sample.answer)
    if not truth:
        return Score({"score": 0.0, **_counted(_FIELDS, 0, 0)})
    found = field_scores(read_json(prediction), truth)
    return Score({"score": found.accuracy, **_counted(_FIELDS, found.right, found.wrong)})


def _document(truth: str, prediction: str) -> float:
    for pattern in _PREAMBLE:
        prediction = pattern.sub("", prediction)
    said = _block(prediction, "```latex").replace(" ", "").replace("\n", "")
    return _closeness(said, truth.replace(" ", "").replace("\n", ""))


def _block(text: str, fence: str) -> str:
    """What stands in the first fenced block; up to the next such fence where it doesn't end; else everything."""
    found = re.search(rf"{fence}(.+?)```", text, re.DOTALL)
    if found:
        return found.group(1)
    return text.split(fence)[1] if fence in text else text


def _closeness(first: str, second: str) -> float:
    longest = max(len(first), len(second))
    return 1 - distance(first, second) / longest if longest else 0.0


def _table(truth: str, prediction: str) -> float:
    said, right = (_plain_tables(text) for text in (_block(prediction, "```html"), truth))
    try:
        return teds(f"<html><body>{said}</body></html>", f"<html><body>{right}</body></html>")
    except ValueError:
        return 0.0


def _plain_tables(text: str) -> str:
    if "</table>" not in text:
        text += "</table>"
    return "".join(map(_plain_table, _TABLE.findall(text))).translate(_HALF_WIDTH)


def _plain_table(table: str) -> str:
    plain = _BETWEEN_TAGS.sub("><", _TABLE_TAG.sub("<table>", table))
    plain = _IN_TAGS.sub(lambda found: f">{found.group(1).replace(chr(10), '').replace(' ', '')}<", plain)
    return plain.replace("\n", "").strip()


def _formula(truth: str, prediction: str) -> float:
    said = prediction.replace("\n", " ").replace("```latex", "").replace("```", "").replace("\t", " ")
    return _closeness(said.replace(" ", ""), truth.replace(" ", ""))


def _molecule(truth: str, prediction: str) -> float:
    said = prediction.replace("\n", "").replace(" ", "").replace("<smiles>", "").replace("</smiles>", "")
    return _closeness(said, truth.replace(" ", ""))


_PARSERS: Mapping[str, Callable[[str, str], float]] = {
    "doc": _document,
    "table": _table,
    "formula": _formula,
    "molecular": _molecule,
}
