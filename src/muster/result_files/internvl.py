"""Reads what InternVL's evaluation scripts wrote (internvl_chat/eval, August 2026): a JSON list or JSON lines.

The scripts name the fields each in their own way. The answer is `prediction`, `pred` or `answer`; the reference
`annotation`, `gt_answers`, `gt`, or `answer` beside `prediction`; the question's id `question_id`, `questionId`,
`data_id`, `index`, `pid` or an image's name. Scores are the file's own (`score`, `correct`, `true_false`), or computed
as the scripts do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from muster.core import ConfigurationError, Sample
from muster.core.numbers import whole
from muster.metrics.letters.mvbench_first_word import internvl_accepts
from muster.metrics.protocol import Metric
from muster.result_files.answers import NO_CLUSTERS, ReadAnswer, as_number, as_text, digest, loaded_task
from muster.result_files.json_document import read_document
from muster.result_files.loaded import LoadedRun
from muster.tasks.sources.row import Row
from muster.tasks.sources.rows import read_rows

KIND = "InternVL answers"
_IDS = ("question_id", "questionId", "data_id", "index", "pid")
_ANSWERS = ("prediction", "pred", "answer", "text")
_REFERENCES = ("annotation", "gt_answers", "gt", "answer")
_OWN_SCORES = ("score", "correct", "true_false")
_STAMP = re.compile(r"_\d{12}$")
_OPTION = re.compile(r"\(([A-Z])\) ")
_METRICS = {
    "docvqa": "anls", "infographicsvqa": "anls", "mpdocvqa": "anls",
    "chartqa": "relaxed_accuracy",
    "ai2diagram": "exact_match", "gqa": "exact_match", "ocrvqa": "exact_match",
    "textvqa": "vqa_accuracy", "vqav2": "vqa_accuracy", "okvqa": "vqa_accuracy", "vizwiz": "vqa_accuracy",
}  # fmt: skip
"""What vqa/evaluate_vqa.py measures, by how a dataset's name begins."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Which fields a file has for what."""

    answer: str
    reference: str | None
    id: str | None
    score: str | None


def is_internvl(path: Path) -> bool:
    """Whether `path` is a file whose first record has an answer in these words."""
    if not path.is_file() or path.suffix.lower() not in (".json", ".jsonl"):
        return False
    try:
        first = next(_records(path), None)
    except ConfigurationError:
        return path.suffix.lower() == ".jsonl"  # told with its line when read
    return first is not None and _layout(first.cells) is not None


def read_internvl(path: Path) -> LoadedRun:
    """Read one dataset's answers.

    Raises `ConfigurationError` with the line, and where the file has nothing to score by.
    """
    rows = list(_records(path))
    layout = _layout(rows[0].cells) if rows else None
    if layout is None:
        raise ConfigurationError(
            f"{path}: no answers: an object with `question_id` and `answer` was expected per record"
        )
    if layout.reference is None and layout.score is None:
        raise ConfigurationError(
            f"{path} has answers and neither references nor scores: `--predictions-of TASK` scores them by a task of "
            "Muster's, by the ids of its samples"
        )
    name = _STAMP.sub("", path.stem)
    metric = None if layout.score else _metric(name)
    ids, unique = _ids(rows, layout)
    answers = [_answer(row, sample, layout, metric) for row, sample in zip(rows, ids, strict=True)]
    notes = (
        [] if unique else [f"{name}: its answers have no ids; they are paired by their places in the file"]
    )
    score = layout.score or (metric.info.primary if metric else "answer equals reference")
    scoring = (
        f"{metric.info.name} ({metric.info.variant}) {metric.info.version}" if metric else f"InternVL {score}"
    )
    notes.append(
        f"{name}: the score is " + (f"the file's `{score}`" if layout.score else f"computed here: {scoring}")
    )
    return LoadedRun(
        label=path.parent.name,
        path=path,
        kind=KIND,
        tasks={name: loaded_task(name, answers, score=score, scoring=scoring)},
        settings={f"tasks.{name}.inputs": digest([each.question or "" for each in answers])},
        notes=(*notes, NO_CLUSTERS),
    )


def _records(path: Path) -> Iterator[Row]:
    """One per answer; MathVista's file has them under their ids."""
    if path.suffix.lower() == ".json" and path.read_bytes()[:64].lstrip().startswith(b"{"):
        document = read_document(path)
        if document and all(isinstance(each, dict) for each in document.values()):
            for number, (key, each) in enumerate(document.items()):
                assert isinstance(each, dict)
                yield Row(number, f"{path}: {key}", each)
            return
    yield from read_rows(path)


def _layout(cells: Mapping[str, object]) -> _Layout | None:
    answer = next((name for name in _ANSWERS if name in cells), None)
    reference = next((name for name in _REFERENCES if name in cells and name != answer), None)
    score = next((name for name in _OWN_SCORES if as_number(cells.get(name)) is not None), None)
    identity = next((name for name in _IDS if name in cells), None)
    told = identity is not None or reference is not None or any(name.startswith("image") for name in cells)
    return _Layout(answer, reference, identity, score) if answer is not None and told else None


def _ids(rows: list[Row], layout: _Layout) -> tuple[list[str], bool]:
    """The ids, and whether the file has them; else places, from 0."""
    if layout.id is not None:
        found = [as_text(row.cells.get(layout.id)) for row in rows]
        for row, each in zip(rows, found, strict=True):
            if each is None:
                raise ConfigurationError(f"{row.place}: no `{layout.id}`")
        return [str(each) for each in found], True
    images = next((name for name in ("image", "image_path", "image_id") if name in rows[0].cells), None)
    if images is not None:
        pairs = [f"{as_text(row.cells.get(images))}: {as_text(row.cells.get('question'))}" for row in rows]
        if len(set(pairs)) == len(pairs):
            return pairs, True
    return [str(row.number) for row in rows], False


def _metric(name: str) -> Metric | None:
    from muster.metrics.registry import build_metric

    found = next((metric for begins, metric in _METRICS.items() if name.lower().startswith(begins)), None)
    return None if found is None else build_metric(found, variant="internvl")


def _answer(row: Row, identity: str, layout: _Layout, metric: Metric | None) -> ReadAnswer:
    cells = row.cells
    if layout.answer not in cells:
        raise ConfigurationError(f"{row.place}: no `{layout.answer}`, which the first record has")
    prediction = as_text(cells[layout.answer]) or ""
    question = as_text(cells.get("question")) or ""
    references = _references(cells.get(layout.reference)) if layout.reference else None
    score, extracted = None, None
    if layout.score is not None:
        score = as_number(cells.get(layout.score))
    elif metric is not None and references:
        scored = metric.score(Sample(id=identity, question=question, answers=references), prediction)
        score, extracted = scored.scores.get(metric.info.primary), scored.extracted
    elif references:
        score = float(_agrees(prediction, references))
    return ReadAnswer(
        id=identity,
        score=score,
        extracted=extracted,
        metadata={
            key: whole(cells[key]) for key in ("task_type", "task", "category") if as_text(cells.get(key))
        },
        question=question,
        answers=references,
        prediction=prediction,
    )


def _agrees(prediction: str, references: tuple[str, ...]) -> bool:
    """Equal, or by MVBench's rule where the reference is an option such as `(B) a cup`."""
    option = _OPTION.match(references[0])
    return prediction in references if option is None else internvl_accepts(prediction, option[1], {})


def _references(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values if (text := as_text(each)) is not None)
