"""Reads logs of inspect_ai (`.eval`, `.json`) through its own reader, where it is installed (seen with 0.3.285).

A `.eval` is an archive whose compression and inner layout are inspect's affair, so nothing is parsed here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.core import ConfigurationError
from muster.core.numbers import whole
from muster.result_files.answers import NO_CLUSTERS, ReadAnswer, as_number, as_text, digest, loaded_task
from muster.result_files.loaded import Headline, LoadedRun, LoadedTask

KIND = "inspect_ai log"
_WORDS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Its words for correct, incorrect, partial and no answer, with the values that its own metrics give them."""
_GLANCE = 4096


def is_inspect_log(path: Path) -> bool:
    """Whether `path` is a log, or a folder with some."""
    if path.is_dir():
        return any(is_inspect_log(each) for each in path.iterdir() if each.is_file())
    if path.suffix == ".eval":
        return True
    if path.suffix != ".json":
        return False
    with path.open("rb") as file:
        begins = file.read(_GLANCE)
    return b'"eval"' in begins and b'"status"' in begins and b'"version"' in begins


def read_inspect_log(path: Path) -> LoadedRun:
    """Read one log, or of a folder the newest of each task. Raises `ConfigurationError`, without inspect_ai too."""
    tasks: dict[str, LoadedTask] = {}
    settings: dict[str, str] = {}
    notes: list[str] = []
    complete = True
    models: dict[str, None] = {}
    for file in _files(path):
        log = _log(file)
        name = str(log.eval.task).rpartition("/")[2]
        if name in tasks:
            notes.append(f"{name}: an older log was left out, {file.name}")
            continue
        complete = complete and log.status == "success"
        models[str(log.eval.model)] = None
        tasks[name], said = _task(name, log, file)
        notes += said
        settings |= _settings(name, log)
    if len(models) > 1:
        raise ConfigurationError(
            f"{path} has logs of several models: {', '.join(models)}. Give the logs of one"
        )
    return LoadedRun(
        label=next(iter(models)),
        path=path,
        kind=KIND,
        tasks=tasks,
        complete=complete,
        settings=settings,
        notes=(*notes, NO_CLUSTERS),
    )


def _files(path: Path) -> list[Path]:
    """The newest first: their names begin with the time."""
    if path.is_file():
        return [path]
    return sorted((each for each in path.iterdir() if each.is_file() and is_inspect_log(each)), reverse=True)


def _log(path: Path) -> Any:
    try:
        from inspect_ai.log import read_eval_log
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{path} is a log of inspect_ai, which its own reader opens: pip install inspect_ai"
        ) from None
    try:
        log = read_eval_log(str(path))
    except Exception as error:
        raise ConfigurationError(
            f"{path} is no log that inspect_ai can read: {type(error).__name__}: {error}"
        ) from error
    if not log.samples:
        raise ConfigurationError(f"{path} has no samples (status: {log.status}), so nothing to pair")
    return log


def _task(name: str, log: Any, path: Path) -> tuple[LoadedTask, list[str]]:
    scorers = list(dict.fromkeys(scorer for sample in log.samples for scorer in sample.scores or {}))
    scorer = next((each for each in scorers if any(_values(sample, each) for sample in log.samples)), None)
    if scorer is None:
        raise ConfigurationError(f"{path}: no sample has a score that is a number or right or wrong")
    key = next(iter(next(values for sample in log.samples if (values := _values(sample, scorer)))))
    answers = [_answer(sample, scorer, key) for sample in log.samples]
    shown = f"{scorer}.{key}" if key else scorer
    notes = [f"{name}: the score is `{shown}`, the first of {', '.join(scorers)}"] if len(scorers) > 1 else []
    task = loaded_task(
        name, answers, score=shown, scoring=f"inspect_ai {shown}", headline=_headline(log, scorer, key)
    )
    return task, notes


def _values(sample: Any, scorer: str) -> Mapping[str, float]:
    """The numbers that a scorer gave, by key; a single one under the empty key."""
    score = (sample.scores or {}).get(scorer)
    value = None if score is None else score.value
    items: Iterator[tuple[str, object]] = (
        iter(value.items()) if isinstance(value, dict) else iter([("", value)])
    )
    return {str(key): number for key, each in items if (number := _number(each)) is not None}


def _number(value: object) -> float | None:
    return _WORDS[value] if isinstance(value, str) and value in _WORDS else as_number(value)


def _answer(sample: Any, scorer: str, key: str) -> ReadAnswer:
    score = (sample.scores or {}).get(scorer)
    usage = sample.output.usage
    error = sample.error.message if sample.error else None
    return ReadAnswer(
        id=str(sample.id),
        repeat=int(sample.epoch) - 1,
        score=_values(sample, scorer).get(key),
        extracted=None if score is None else score.answer,
        error_kind="sample" if error else None,
        error=error,
        finish_reason="length"
        if sample.output.stop_reason == "max_tokens"
        else as_text(sample.output.stop_reason),
        prompt_tokens=usage.input_tokens if usage else None,
        tokens=usage.output_tokens if usage else None,
        seconds=sample.total_time,
        metadata={key: whole(value) for key, value in (sample.metadata or {}).items() if _is_plain(value)},
        question=_question(sample.input),
        choices=tuple(sample.choices or ()),
        answers=_references(sample.target),
        prediction=sample.output.completion,
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _question(messages: str | Sequence[Any]) -> str:
    return (
        messages
        if isinstance(messages, str)
        else "\n".join(str(getattr(each, "text", each)) for each in messages)
    )


def _references(target: str | Sequence[str]) -> tuple[str, ...]:
    return (target,) if isinstance(target, str) else tuple(target)


def _headline(log: Any, scorer: str, key: str) -> Headline | None:
    """The first metric of the scorer."""
    for each in log.results.scores if log.results else ():
        if each.name in (scorer, key) and each.metrics:
            metric = next(iter(each.metrics.values()))
            return Headline(str(metric.name), as_number(metric.value))
    return None


def _settings(name: str, log: Any) -> dict[str, str]:
    generation = log.eval.model_generate_config.model_dump(exclude_none=True)
    found: dict[str, object] = {
        "model": log.eval.model,
        **{f"model.{key}": value for key, value in (log.eval.model_args or {}).items()},
        **{f"generation.{key}": value for key, value in generation.items()},
        **{f"packages.{key}": value for key, value in (log.eval.packages or {}).items()},
        f"tasks.{name}.version": log.eval.task_version,
        f"tasks.{name}.dataset": log.eval.dataset.name,
        f"tasks.{name}.inputs": digest([_question(sample.input) for sample in log.samples]),
        **{f"tasks.{name}.{key}": value for key, value in (log.eval.task_args or {}).items()},
    }
    return {key: text for key, value in found.items() if (text := as_text(value)) is not None}
