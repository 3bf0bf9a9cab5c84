"""Scores predictions that were made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError, Sample
from muster.core.regular_files import regular
from muster.results.aggregation import TaskScores, scorable
from muster.results.answer_scoring import (
    MISSING,
    Answer,
    Outcome,
    Problem,
    score_answer,
    with_corpus_scores,
    without_answer,
)
from muster.results.files import encode_json, replacing
from muster.results.prediction_files import read_predictions
from muster.results.results import TaskResults
from muster.results.scoring_limits import watching
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task

_SHOWN = 5


class _Prediction(NamedTuple):
    place: str
    text: str | None


class Prediction(NamedTuple):
    """One answer that was made elsewhere."""

    sample: Sample
    repeat: int
    text: str


class _Key(NamedTuple):
    id: str
    repeat: int


def score_predictions(
    task: Task,
    samples: Sequence[Sample],
    predictions_file: Path,
    per_sample: Path | None = None,
    ask: Callable[[Sequence[Prediction]], VerdictBook] | None = None,
) -> TaskResults:
    """Score a file of predictions (`read_predictions` says in which forms) against `samples`.

    Samples without a prediction count as errored (kind `missing`). Unknown and duplicate ids raise
    `ConfigurationError` with their line numbers. `per_sample` gets a line for each scored sample.
    `ask` has the predictions judged, before they are scored.
    """
    answers, verdicts = scored_answers(task, samples, predictions_file, ask)
    scores = TaskScores(
        task, samples, repeats=len(answers) // max(1, len(samples)), missing_is_error=True, verdicts=verdicts
    )
    for answer in answers:
        scores.add(answer)
    if per_sample is not None:
        _write_per_sample(per_sample, answers)
    return scores.results()


def scored_answers(
    task: Task,
    samples: Sequence[Sample],
    predictions_file: Path,
    ask: Callable[[Sequence[Prediction]], VerdictBook] | None = None,
) -> tuple[list[Answer], VerdictBook]:
    """What became of each sample and repeat, and the verdicts used: see `score_predictions`, which raises the same."""
    predictions = _read(predictions_file, samples, task.name)
    _check_ids(predictions, samples, predictions_file)
    verdicts = VerdictBook() if ask is None else ask(_to_judge(samples, predictions))
    repeats = 1 + max((key.repeat for key in predictions), default=0)
    task = scorable(task)
    each = (
        _answer(task, sample, repeat, predictions.get(_Key(sample.id, repeat)), verdicts)
        for sample in samples
        for repeat in range(repeats)
    )
    with watching():
        return list(with_corpus_scores(task, each)), verdicts


def _to_judge(samples: Sequence[Sample], predictions: dict[_Key, _Prediction]) -> list[Prediction]:
    by_id = {sample.id: sample for sample in samples}
    return [
        Prediction(by_id[key.id], key.repeat, found.text)
        for key, found in predictions.items()
        if found.text is not None
    ]


def _answer(
    task: Task, sample: Sample, repeat: int, prediction: _Prediction | None, verdicts: VerdictBook
) -> Answer:
    if prediction is None or prediction.text is None:
        return without_answer(task, sample, repeat, Problem(MISSING, "no prediction"))
    return score_answer(task, sample, repeat, prediction.text, verdicts)


def _read(path: Path, samples: Sequence[Sample], task: str) -> dict[_Key, _Prediction]:
    predictions: dict[_Key, _Prediction] = {}
    duplicates: list[str] = []
    known = {sample.id for sample in samples}
    try:
        regular(path)
    except OSError as error:
        raise ConfigurationError(f"cannot read the predictions {path}: {error.strerror or error}") from error
    for place, name, repeat, text in read_predictions(path, samples, task):
        # A data frame makes 17.0 of the id 17 where one is missing, here or in the samples' own file.
        forms = (name, name.removesuffix(".0"), f"{name}.0")
        key = _Key(next((form for form in forms if form in known), name), repeat)
        if key in predictions:
            both = f"{predictions[key].place} and {place}".replace("line", "lines", 1).replace(
                "and line ", "and "
            )
            duplicates.append(f"{_named(key)} ({both})")
            continue
        predictions[key] = _Prediction(place, text)
    if duplicates:
        raise ConfigurationError(
            f"{path} has more than one prediction for {_some(duplicates)}. Keep one, or number them with `repeat`."
        )
    return predictions


def _check_ids(predictions: dict[_Key, _Prediction], samples: Sequence[Sample], path: Path) -> None:
    known = {sample.id for sample in samples}
    unknown = [f"{_named(key)} ({found.place})" for key, found in predictions.items() if key.id not in known]
    if unknown:
        raise ConfigurationError(
            f"{path} has predictions for samples that the task does not have: {_some(unknown)}. "
            f"Check the task, or give the samples they belong to with --samples."
        )


def _write_per_sample(path: Path, answers: Sequence[Answer]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        for answer in answers:
            row: dict[str, object] = {"id": answer.sample.id}
            if answer.repeat:
                row["repeat"] = answer.repeat
            row |= _described(answer.outcome)
            if answer.unfinished:
                row["unfinished"] = True
            if answer.also:
                row["variants"] = {variant: _described(outcome) for variant, outcome in answer.also.items()}
            file.write(encode_json(row) + b"\n")


def _described(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, Problem):
        return {"extracted": None, "scores": {}, "error": f"{outcome.kind}: {outcome.message}"}
    return {"extracted": outcome.score.extracted, "scores": dict(outcome.score.scores)}


def _named(key: _Key) -> str:
    return f"{key.id!r}" + (f" repeat {key.repeat}" if key.repeat else "")


def _some(items: list[str]) -> str:
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
