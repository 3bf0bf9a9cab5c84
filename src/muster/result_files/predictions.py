"""Reads a file of predictions as a run, by scoring it as a task of Muster's: `--predictions-of TASK`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from muster.core import ConfigurationError, Sample
from muster.result_files.answers import ReadAnswer, loaded_task
from muster.result_files.loaded import LoadedRun, LoadedTask
from muster.result_files.muster_run import answer_unit, headline_of
from muster.results.aggregation import TaskScores
from muster.results.answer_scoring import MISSING, Answer, scores_of
from muster.results.clusters import sample_clusters
from muster.results.predictions import scored_answers
from muster.results.results import TaskResults
from muster.tasks.definition import Task

KIND = "predictions"


def read_predictions_of(path: Path, task_name: str) -> LoadedRun:
    """Score the predictions in the file `path` (`read_predictions` says in which forms) for one task.

    Raises `ConfigurationError` for an unknown task or a group of several, a file that can't be read, ids that the task
    doesn't have. The task's data are read, and downloaded if need be. No judge is asked: verdicts are taken from
    `PATH.verdicts.jsonl`, where `muster score` keeps them.
    """
    from muster.judging.afterwards import PredictionsJudge

    task = _the_task(task_name)
    samples = task.source.load()
    judged = PredictionsJudge(None, path.with_suffix(".verdicts.jsonl"), task, None)
    answers, verdicts = scored_answers(task, samples, path, judged)
    scores = TaskScores(
        task, samples, repeats=len(answers) // max(1, len(samples)), missing_is_error=True, verdicts=verdicts
    )
    for answer in answers:
        scores.add(answer)
    results = scores.results()
    loaded = _loaded(task, samples, answers, results)
    return LoadedRun(
        label=path.stem,
        path=path,
        kind=KIND,
        tasks={task.name: loaded},
        complete=not results.samples.errors.get(MISSING),
        settings={f"tasks.{task.name}.scoring": loaded.scoring},
        notes=(f"its predictions were scored here as the task {task.name}, by {loaded.scoring}",),
    )


def _the_task(name: str) -> Task:
    from muster.tasks.registry import load_tasks

    tasks = load_tasks([name])
    if len(tasks) != 1:
        raise ConfigurationError(
            f"--predictions-of {name} is {len(tasks)} tasks; predictions are scored for one: "
            + ", ".join(task.name for task in tasks)
        )
    return tasks[0]


def _loaded(
    task: Task, samples: Sequence[Sample], answers: Sequence[Answer], results: TaskResults
) -> LoadedTask:
    cluster_of = sample_clusters(samples, task.cluster)
    present = dict.fromkeys(name for answer in answers for name in scores_of(answer.outcome))
    score = results.answer_score or next(
        (name for name in (results.primary, "accuracy", "correct", "score", *present) if name in present), ""
    )
    headline = results.metrics.get(results.primary)
    loaded = loaded_task(
        task.name,
        [_read(answer, score, cluster_of) for answer in answers],
        score=score,
        scoring=f"{results.metric} ({results.metric_variant}) {results.metric_version}",
        headline=None if headline is None else headline_of(results.primary, headline),
        by=tuple(results.by),
    )
    known = headline is not None and results.answer_score is not None
    return replace(
        loaded,
        unit=answer_unit(headline.unit) if known and headline is not None else loaded.unit,
        headline_is_mean=results.answer_score is not None,
    )


def _read(answer: Answer, score: str, cluster_of: Callable[[Sample], str]) -> ReadAnswer:
    sample, problem = answer.sample, answer.problem
    return ReadAnswer(
        id=sample.id,
        repeat=answer.repeat,
        score=scores_of(answer.outcome).get(score),
        extracted=answer.scored.score.extracted if answer.scored else None,
        error_kind=problem.kind if problem else None,
        error=f"{problem.kind}: {problem.message}" if problem else None,
        unfinished=answer.unfinished if answer.split else None,
        cluster=cluster_of(sample),
        metadata=sample.metadata,
        question=sample.question,
        choices=sample.choices,
        answers=sample.answers,
        prediction=answer.scored.prediction if answer.scored else None,
    )
