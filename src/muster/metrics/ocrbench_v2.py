"""OCRBench v2 (Fu et al. 2024): thirty types of tasks, each with a rule of its own, in English and Chinese.

Source: the authors' evaluation (`official`). Where their scripts stop with an error (a table that can't be parsed, a
number that is none), an answer is worth nothing here. BLEU, METEOR and F-measure are NLTK's 3.10.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from muster.core import JSON, Sample
from muster.metrics.averages import mean, mean_score
from muster.metrics.boxes import Box
from muster.metrics.documents.edit_distance import check_documents, distance
from muster.metrics.documents.outline import outline_similarity
from muster.metrics.documents.page_text import page_score
from muster.metrics.documents.spotting import Word, read_words, spotting_score
from muster.metrics.documents.tables import dictionary_table, found_table, markdown_table, teds, wrapped
from muster.metrics.documents.wordnet import wordnet
from muster.metrics.documents.written_values import (
    field_choices,
    fields_f1,
    literal,
    read_fields,
    read_nested,
)
from muster.metrics.protocol import MetricInfo, Score, ScoredSample
from muster.metrics.split_means import means_of_parts
from muster.metrics.variants import VariantMetric

Language = Literal["en", "cn"]
_ABILITIES: Mapping[Language, Mapping[str, Sequence[str]]] = {
    "en": {
        "text_recognition": ("text recognition", "fine-grained text recognition", "full-page OCR"),
        "text_detection": ("text grounding", "VQA with position"),
        "text_spotting": ("text spotting",),
        "relationship_extraction": ("key information extraction", "key information mapping"),
        "element_parsing": ("document parsing", "chart parsing", "table parsing", "formula recognition"),
        "mathematical_calculation": ("math QA", "text counting"),
        "visual_text_understanding": ("document classification", "cognition VQA", "diagram QA"),
        "knowledge_reasoning": ("reasoning VQA", "science QA", "APP agent", "ASCII art classification"),
    },
    "cn": {
        "text_recognition": ("full-page OCR",),
        "relationship_extraction": ("key information extraction", "handwritten answer extraction"),
        "element_parsing": ("document parsing", "table parsing", "formula recognition"),
        "visual_text_understanding": ("cognition VQA",),
        "knowledge_reasoning": ("reasoning VQA", "text translation"),
    },
}
_LONG_ANSWER = {"en": (" ", 5), "cn": (",", 4)}
"""An answer of so many parts is compared by edit distance; a shorter one has to occur."""
_ENOUGH = 0.5
_BOX = re.compile(r"[(\[]\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*[)\]]")
_TEXT_TAG = re.compile(r"\\text\{([^{}]*)\}")
_BETWEEN = ("", ".", ". ", ",", ", ", "、", ";", "; ", " ", "和")
"""What may stand between the characters of a handwritten answer."""
_WRITTEN_ANSWER = "简答"


@dataclass(frozen=True, kw_only=True)
class OcrBenchV2(VariantMetric):
    """`overall`, the mean over the abilities of one `language`; those; and `score`, the mean over the answers.

    Metadata keys: `type`, with the language behind it ("full-page OCR cn"); `eval`, how an answer is compared; `bbox`,
    of a question with a position; `bbox_list` and `content`, the boxes and words to be spotted.
    """

    name: ClassVar[str] = "ocrbench_v2"
    variants: ClassVar[tuple[str, ...]] = ("official",)
    reads_answers: ClassVar[bool] = False

    variant: str = "official"
    language: Language = "en"

    @cached_property
    def info(self) -> MetricInfo:
        """All 0-1."""
        names = ("overall", "score", *_ABILITIES[self.language])
        return self._described("overall", dict.fromkeys(names, "0-1"), {"score": "score"})

    def check(self) -> None:
        """Raise `ConfigurationError` where the extra `documents` or WordNet is missing."""
        check_documents("OCRBench v2")
        wordnet()

    def has_reference(self, sample: Sample) -> bool:
        """Whether there are words to be spotted, or an answer; of a translation an empty one is none."""
        kind = _kind(sample)
        if kind == "text spotting":
            return bool(_words(sample))
        return bool(sample.answers) and (kind != "text translation" or bool(sample.answer))

    def score(self, sample: Sample, prediction: str) -> Score:
        """`score` 0 to 1, by the rule for the type of task."""
        rule = _RULES.get(_kind(sample))
        if rule is None or not self.has_reference(sample):
            return Score({"score": 0.0})
        return Score({"score": float(rule(sample, prediction, self.language))})

    def aggregate(self, rows: Sequence[ScoredSample]) -> dict[str, float]:
        """Each of `info.units`; NaN for an ability of which there is nothing."""
        parts = {
            name: lambda row, kinds=kinds: _kind(row.sample) in kinds
            for name, kinds in _ABILITIES[self.language].items()
        }
        abilities = means_of_parts(rows, "score", parts)
        there = [value for value in abilities.values() if not math.isnan(value)]
        overall = mean(there) if there else float("nan")
        return {"overall": overall, "score": mean_score(rows, "score"), **abilities}


def _kind(sample: Sample) -> str:
    return str(sample.metadata.get("type")).rpartition(" ")[0]


def _answers(sample: Sample, prediction: str, language: Language) -> float:
    """Whether an answer occurs, or how close it comes to a long one; choices have to be the only letters."""
    how = sample.metadata.get("eval")
    if how == "multiple choice":
        return float("".join(filter(str.isalpha, prediction)) == sample.answer)
    clean = _clean_chinese if language == "cn" else _clean
    if how == "case sensitive":
        clean, language = _clean_cased, "en"
    text = clean(prediction)
    return max((_closeness(text, clean(answer), language) for answer in sample.answers), default=0.0)


def _clean(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


def _clean_cased(text: str) -> str:
    return text.strip().replace("\n", " ")


def _clean_chinese(text: str) -> str:
    return _clean(text).replace(" ", "")


def _closeness(text: str, answer: str, language: Language) -> float:
    parts = len(answer.split(",")) if language == "cn" else len(answer.split())
    if parts < _LONG_ANSWER[language][1]:
        return float(answer in text)
    near = 1 - distance(text, answer) / max(len(text), len(answer))
    return near if near >= _ENOUGH else 0.0


def _counting(sample: Sample, prediction: str, _language: Language) -> float:
    how = sample.metadata.get("eval")
    if how == "exact match":
        return float(any(_clean(answer) in prediction for answer in sample.answers))
    found = re.search(r"\d+", _clean(prediction)) if how == "regression" else None
    try:
        pairs = [(int(found.group()), int(answer)) for answer in sample.answers] if found else []
    except ValueError:
        return 0.0
    near = [1 - abs(said - right) / right for said, right in pairs if 0 < said < 2 * right]
    return max((each for each in near if each > _ENOUGH), default=0.0)


def _formula(sample: Sample, prediction: str, language: Language) -> float:
    def clean(text: str) -> str:
        plain = _TEXT_TAG.sub(r"\1", text) if language == "cn" else text
        return plain.strip().replace("\n", " ").replace(" ", "")

    if language == "cn" and prediction.lower() == "nan":
        return 0.0
    text = clean(prediction)
    return float(any(clean(answer) in text for answer in sample.answers))


def _handwritten(sample: Sample, prediction: str, _language: Language) -> float:
    if _WRITTEN_ANSWER in sample.question:
        return page_score(prediction, sample.answer)
    return float(any(between.join(sample.answer) in prediction for between in _BETWEEN))


def _page(sample: Sample, prediction: str, _language: Language) -> float:
    return page_score(prediction, sample.answer) if prediction else 0.0


def _table(sample: Sample, prediction: str, language: Language) -> float:
    question = sample.question.lower()
    if language == "cn" or "html" in question:
        found = found_table(prediction)
        return _teds(wrapped(found), wrapped(sample.answer)) if found else 0.0
    if "markdown" in question:
        return _teds(markdown_table(prediction), markdown_table(sample.answer))
    return 0.0


def _chart(sample: Sample, prediction: str, _language: Language) -> float:
    predicted, truth = read_nested(prediction), _truth_of_chart(sample.answer)
    return _teds(dictionary_table(predicted), dictionary_table(truth)) if predicted else 0.0


def _truth_of_chart(answer: str) -> Mapping[object, object]:
    try:
        value: object = json.loads(answer)
    except ValueError:
        value = literal(answer)
    return value if isinstance(value, dict) else {}


def _teds(predicted: str, truth: str) -> float:
    try:
        return teds(predicted, truth)
    except ValueError:
        return 0.0


def _outline(sample: Sample, prediction: str, _language: Language) -> float:
    return outline_similarity(prediction, sample.answer)


def _fields(sample: Sample, prediction: str, _language: Language) -> float:
    predicted = read_fields(prediction)
    return max((fields_f1(predicted, truth) for truth in field_choices(sample.answer)), default=0.0)


def _with_position(sample: Sample, prediction: str, _language: Language) -> float:
    said = read_fields(prediction)
    content = _closest(sample, said["answer"]) if "answer" in said else 0.0
    place = _iou(literal(said["bbox"]), sample.metadata.get("bbox")) if "bbox" in said else 0.0
    return 0.5 * content + 0.5 * place


def _closest(sample: Sample, text: str) -> float:
    return max((_closeness(_clean(text), _clean(answer), "en") for answer in sample.answers), default=0.0)


def _grounding(sample: Sample, prediction: str, _language: Language) -> float:
    """The last box of an answer, in thousandths."""
    boxes = [[int(each) for each in found] for found in _BOX.findall(prediction)]
    inside = [box for box in boxes if all(0 <= each <= 1000 for each in box)]
    return _iou(inside[-1], sample.answers) if inside else 0.0


def _iou(first: object, second: object) -> float:
    a, b = _box(first), _box(second)
    if a is None or b is None:
        return 0.0
    width, height = min(a.right, b.right) - max(a.left, b.left), min(a.bottom, b.bottom) - max(a.top, b.top)
    shared = max(0, width) * max(0, height)
    union = a.area + b.area - shared
    return shared / union if union else 0.0


def _box(value: object) -> Box | None:
    try:
        return Box(*[int(each) for each in value][:4]) if isinstance(value, list | tuple | str) else None
    except (ValueError, TypeError, OverflowError):
        return None


def _spotting(sample: Sample, prediction: str, _language: Language) -> float:
    return spotting_score(read_words(prediction), _words(sample))


def _words(sample: Sample) -> list[Word]:
    """What is to be spotted: of each polygon the box around it."""
    polygons, texts = sample.metadata.get("bbox_list"), sample.metadata.get("content")
    if not isinstance(polygons, list) or not isinstance(texts, list):
        return []
    boxes = (_around(each) for each in polygons)
    return [Word(box, str(text)) for box, text in zip(boxes, texts, strict=False) if box is not None]


def _around(polygon: JSON) -> Box | None:
    if not isinstance(polygon, list) or len(polygon) < 2:
        return None
    corners = [int(each) for each in polygon if isinstance(each, int | float)]
    xs, ys = corners[0::2], corners[1::2]
    return Box(min(xs), min(ys), max(xs), max(ys)) if xs and ys else None


_RULES: Mapping[str, Callable[[Sample, str, Language], float]] = {
    **dict.fromkeys(
        (
            "APP agent",
            "ASCII art classification",
            "math QA",
            "reasoning VQA",
            "science QA",
            "text recognition",
            "document classification",
            "cognition VQA",
            "diagram QA",
        ),
        _answers,
    ),
    **dict.fromkeys(("fine-grained text recognition", "full-page OCR", "text translation"), _page),
    **dict.fromkeys(("key information extraction", "key information mapping"), _fields),
    "handwritten answer extraction": _handwritten,
    "formula recognition": _formula,
    "text counting": _counting,
    "table parsing": _table,
    "chart parsing": _chart,
    "document parsing": _outline,
    "VQA with position": _with_position,
    "text grounding": _grounding,
    "text spotting": _spotting,
}
