"""From answers, one by one, to a loaded task: what all readers of other tools' files share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from muster.core.numbers import whole
from muster.core.text import valid_text
from muster.result_files.loaded import ROW_COLUMNS, Headline, LoadedTask, row_schema
from muster.results.files import encode_json

NO_CLUSTERS = "samples count as independent: the files don't say which share an image (`--cluster FIELD`)"
TARGETS_JOINED = "\x1f"
_UNSCORED = "unscored"
_ROUNDED = 5e-5
"""Up to this, of 1, two means are the same: files round them."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """One answer as its file has it. None is "unknown", and in `score` "no score"."""

    id: str
    repeat: int = 0
    score: float | None = None
    extracted: str | None = None
    error_kind: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    unfinished: bool | None = None
    prompt_tokens: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    cluster: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)
    question: str | None = None
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] | None = None
    """The references; None where the file has none."""
    prediction: str | None = None


def loaded_task(
    name: str,
    answers: Sequence[ReadAnswer],
    *,
    score: str,
    scoring: str = "",
    headline: Headline | None = None,
    by: tuple[str, ...] = (),
) -> LoadedTask:
    """The task of `answers`, in their order. Whether the headline is the mean of `score` is found out by computing it.

    The unit is 0-1 where all scores lie there, and unknown elsewhere.
    """
    import pyarrow as pa

    answers = [replace(each, id=valid_text(each.id)) for each in answers]
    columns = {column: [_cell(each, column) for each in answers] for column in ROW_COLUMNS}
    rows = pa.table(
        [pa.array(columns[each.name], type=each.type) for each in row_schema()], schema=row_schema()
    )
    texts = pa.table(
        {
            "question": pa.array([_valid(each.question) for each in answers], pa.string()),
            "choices": pa.array(
                [[valid_text(c) for c in each.choices] for each in answers], pa.list_(pa.string())
            ),
            "answers": pa.array(
                [[valid_text(a) for a in each.answers or ()] for each in answers], pa.list_(pa.string())
            ),
            "prediction": pa.array([_valid(each.prediction) for each in answers], pa.string()),
            "error": pa.array([_valid(each.error) for each in answers], pa.string()),
        }
    )
    scores = [each.score for each in answers if each.score is not None]
    scale = _scale(scores, headline)
    if headline is not None and scale == 100.0:
        headline = replace(headline, unit="percent")
    elif headline is not None and scale == 1.0 and _are_shares(scores):
        headline = replace(headline, unit="0-1")
    return LoadedTask(
        name=name,
        rows=rows,
        score=score if scores else "",
        unit="0-1" if _are_shares(scores) else "",
        scoring=scoring,
        headline=headline,
        headline_is_mean=headline is None or scale is not None,
        by=by,
        texts=lambda: texts,
    )


def digest(texts: Sequence[str]) -> str:
    """Short, and equal for equal texts in whatever order."""
    joined = b"\0".join(sorted(each.encode("utf-8", "surrogatepass") for each in texts))
    return hashlib.sha256(joined).hexdigest()[:12]


def as_text(value: object) -> str | None:
    """A value of a file as a text: itself, a whole number without its point, anything else as JSON; None of nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    value = whole(value)
    return value if isinstance(value, str) else encode_json(value).decode()


def as_number(value: object) -> float | None:
    """A score: a number, right or wrong, or the text of either; None for anything else."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return float(word == "true")
        try:
            value = float(word)
        except ValueError:
            return None
    try:
        number = float(value) if isinstance(value, bool | int | float) else math.nan
    except OverflowError:  # an integer beyond 1.8e308
        return None
    return number if math.isfinite(number) else None


def _cell(answer: ReadAnswer, column: str) -> object:
    if column == "target":
        return None if answer.answers is None else valid_text(TARGETS_JOINED.join(answer.answers))
    if column == "metadata":
        return encode_json(dict(answer.metadata)).decode()
    if column == "error_kind" and answer.error_kind is None and answer.score is None:
        return _UNSCORED
    value = getattr(answer, column)
    return valid_text(value) if isinstance(value, str) else value


def _valid(text: str | None) -> str | None:
    return None if text is None else valid_text(text)


def _are_shares(scores: Sequence[float]) -> bool:
    return bool(scores) and all(0.0 <= each <= 1.0 for each in scores)


def _scale(scores: Sequence[float], headline: Headline | None) -> float | None:
    """1 where the headline is the scores' mean, 100 where it is their mean in percent, else None."""
    if headline is None or headline.value is None or not scores:
        return None
    mean = math.fsum(scores) / len(scores)
    return next(
        (scale for scale in (1.0, 100.0) if abs(headline.value - scale * mean) <= scale * _ROUNDED), None
    )
