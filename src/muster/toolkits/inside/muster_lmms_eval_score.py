"""From the answers to a task of lmms-eval to its scores: filters, `process_results` and aggregation, all its own."""

from __future__ import annotations

import argparse
import collections
import copy
import importlib
import inspect
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muster_lmms_eval_list import LIKELIHOODS
from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_wire import described

_ALONE_SECONDS = 10.0
"""What looking at each document alone may take."""
_ROUNDED = 6e-6
"""By how much an aggregate may differ from a mean: some are rounded to five places."""
_CHEAP_SECONDS = 0.05
"""What one aggregation may take so that an interval by resampling is affordable."""


class Scorer:
    """The answers to one task and what lmms-eval makes of them, kept for aggregation."""

    def __init__(
        self,
        name: str,
        task: Any,
        state: tuple[Any, Any],
        judge: JudgeEndpoint,
        answers: Sequence[tuple[int, list[str]]],
    ) -> None:
        self._name, self._task, self._state, self._judge = name, task, state, judge
        self._answers = answers
        self.items: dict[int, list[tuple[tuple[str, str], Any]]] = {}
        """Of each document that has a score, what `process_results` gave, by metric and filter."""
        self._alone: dict[int, dict[str, float]] = {}
        """What aggregation makes of a document alone, by aggregate."""
        self.raw: dict[str, Any] = {}
        """The aggregates as lmms-eval's table has them."""
        self.counted = 0
        self._arguments: argparse.Namespace | None = None

    def rows(self, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """One row for each document in their order, then the aggregates."""
        self._arguments = arguments
        numpy: Any = importlib.import_module("numpy")
        random.setstate(self._state[0])
        numpy.random.set_state(self._state[1])
        self._judge.task = self._name
        instances = self._filtered()
        documents = self._documents(instances)
        problems: dict[int, dict[str, str]] = {}
        for key in list(instances[0].filtered_resps):
            tags = self._reasoning_tags()
            for doc_id, doc, each in documents:
                if doc_id in problems:
                    continue
                found = self._process(doc, each, key, tags)
                if isinstance(found, list):
                    self.items.setdefault(doc_id, []).extend(found)
                else:
                    problems[doc_id] = found
        for doc_id in problems:
            self.items.pop(doc_id, None)
        aggregated = self._aggregated()
        for doc_id, _doc, _instances in documents:
            if doc_id in problems:
                yield {"id": doc_id, **problems[doc_id]}
            else:
                yield {"id": doc_id, "scores": self._numbers(doc_id)}
        yield {"about": "task", **aggregated}

    def _filtered(self) -> list[Any]:
        """The instances that have answers, with lmms-eval's filters applied to all of them together."""
        by_id: dict[int, list[Any]] = {}
        for instance in self._task.instances:
            by_id.setdefault(instance.doc_id, []).append(instance)
        chosen = []
        for doc_id, texts in self._answers:
            answered: Any
            if str(self._task.OUTPUT_TYPE) == LIKELIHOODS:
                answered = zip(sorted(by_id[doc_id], key=_place), map(_losses, texts[0]), strict=True)
            else:
                answered = zip(by_id[doc_id][-1:], [list(texts)], strict=True)
            for instance, answers in answered:
                instance.resps, instance.filtered_resps, instance.raw_filtered_resps = answers, {}, {}
                chosen.append(instance)
        self._strip_thinking_where_asked()
        complete = len(chosen) == len(self._task.instances)
        docs = self._task.task_docs
        beside = docs if complete else docs.select([instance.doc_id for instance in chosen])
        for ensemble in self._task._filters:
            ensemble.apply(chosen, beside)  # some filters zip answers and documents
        return chosen

    def _strip_thinking_where_asked(self) -> None:
        if not getattr(self._task.config, "auto_strip_thinking", False) or self._reasoning_tags() is not None:
            return
        kind: Any = importlib.import_module("lmms_eval.filters.transformation").StripThinkingFilter
        for ensemble in self._task._filters:
            if not any(isinstance(each, kind) for each in ensemble.filters):
                ensemble.filters.insert(0, kind())

    def _reasoning_tags(self) -> Any:
        reasoning: Any = importlib.import_module("lmms_eval.api.reasoning")
        return reasoning.parse_reasoning_tags_config(
            cli_value=getattr(self._arguments, "reasoning_tags", None),
            task_value=getattr(self._task.config, "reasoning_tags", None),
        )

    def _documents(self, instances: Sequence[Any]) -> list[tuple[int, Any, list[Any]]]:
        """Each document with its instances: one, or where options are compared one for each."""
        docs = self._task.eval_docs_no_media
        by_id: dict[int, list[Any]] = {}
        for instance in sorted(instances, key=_by_id):
            by_id.setdefault(int(instance.doc_id), []).append(instance)
        return [(doc_id, docs[doc_id], each) for doc_id, each in by_id.items()]

    def _process(
        self, doc: Any, instances: Sequence[Any], key: str, tags: Any
    ) -> list[tuple[tuple[str, str], Any]] | dict[str, str]:
        """What one document comes to by one filter, or why it has no score."""
        answers = [_without_thoughts(instance.filtered_resps[key], tags) for instance in instances]
        self._judge.refused, self._judge.document = "", str(instances[0].doc_id)
        try:
            with _impatient(self._judge):
                metrics = self._task.process_results(doc, answers)
        except BaseException as error:  # noqa: BLE001 - the task's code, which may call sys.exit()
            if self._judge.refused:
                return {"unscored": self._judge.refused}
            return {"problem": described(error)}
        if self._judge.refused:  # whatever its code made of that
            return {"unscored": self._judge.refused}
        return [((str(metric), key), value) for metric, value in metrics.items()]

    def _numbers(self, document: int) -> dict[str, float]:
        """What of a document's metrics is a number, or holds one under the task's `score_key`, or counts as one."""
        score_key = getattr(self._task.config, "score_key", None) or "score"
        found = {
            named(metric): number
            for metric, value in self.items.get(document, ())
            if (number := _number(value, str(score_key))) is not None
        }
        return {**found, **self._alone.get(document, {})}

    def _count_alone(self, values: dict[str, float | None], means: dict[str, float]) -> None:
        """Find what a document is worth where `process_results` gives no number: what aggregation makes of it alone.

        Only where the aggregate of all is the mean of these, but for rounding.
        """
        documents, began = list(self.items), time.perf_counter()
        single: dict[int, dict[str, float | None]] = {}
        for document in documents:
            if time.perf_counter() - began > _ALONE_SECONDS:
                return
            single[document] = self._values([document], keep=False)[0]
        for name, value in values.items():
            column = [single[document].get(name) for document in documents]
            numbers = [each for each in column if each is not None]
            if name in means or value is None or len(numbers) < len(documents) or not numbers:
                continue
            if not math.isclose(value, math.fsum(numbers) / len(numbers), rel_tol=1e-9, abs_tol=_ROUNDED):
                continue
            factor = 100.0 if max(numbers) > 1 and all(0.0 <= each <= 100.0 for each in numbers) else 1.0
            means[name] = factor
            for document, number in zip(documents, numbers, strict=True):
                self._alone.setdefault(document, {})[name] = number / factor

    def _aggregated(self) -> dict[str, Any]:
        before, asked = _files(), self._judge.asked
        self._judge.refused = self._judge.document = ""
        pristine = copy.deepcopy(self.items)
        started = time.perf_counter()
        values, problems = self._values(list(self.items))
        seconds = time.perf_counter() - started
        unscored = self._judge.refused
        written = sorted(_files() - before)
        quiet = not written and self._judge.asked == asked
        resample = seconds <= _CHEAP_SECONDS and quiet and _unchanged(pristine, self.items)
        means = {} if unscored else self._means(values, halves=resample)
        if resample and not unscored and len(means) < len(values):
            self._count_alone(values, means)
        return {
            "values": {} if unscored else values,
            "unscored": unscored,
            "problems": problems,
            "files": written,
            "resample": resample,
            "means": means,
        }

    def _means(self, values: dict[str, float | None], *, halves: bool) -> dict[str, float]:
        """Aggregates that are the mean of what every document has under their name, with the factor: 1 or 100.

        Where that costs nothing, on both halves of the documents too, lest an F-measure pass because all was right.
        """
        documents = list(self.items)
        parts = [(documents, values)]
        if halves and len(documents) > 1:
            parts += [(part, self.aggregate(part)) for part in (documents[::2], documents[1::2])]
        found: dict[str, float] = {}
        for name in values:
            for factor in (1.0, 100.0):
                if all(self._is_mean(name, part, each.get(name), factor) for part, each in parts):
                    found[name] = factor
                    break
        return found

    def _is_mean(self, name: str, documents: Sequence[int], value: float | None, factor: float) -> bool:
        column = [self._numbers(document).get(name) for document in documents]
        numbers = [each for each in column if each is not None]
        if value is None or not numbers or len(numbers) < len(column):
            return False
        if factor != 1.0 and not all(0.0 <= each <= 1.0 for each in numbers):
            return False
        mean = factor * math.fsum(numbers) / len(numbers)
        return math.isclose(value, mean, rel_tol=1e-9, abs_tol=1e-12)

    def aggregate(self, documents: Sequence[int]) -> dict[str, float | None]:
        """The aggregates of these documents."""
        return self._values(documents, keep=False)[0]

    def _values(
        self, documents: Sequence[int], *, keep: bool = True
    ) -> tuple[dict[str, float | None], list[str]]:
        """Numbers by name, and what has none. An aggregate that is a mapping gives one for each of its numbers."""
        lists: dict[tuple[str, str], list[Any]] = collections.defaultdict(list)
        for document in documents:
            for metric, value in self.items.get(document, ()):
                lists[metric].append(value)
        aggregations = self._task.aggregation()
        values: dict[str, float | None] = {}
        problems: list[str] = []
        for metric, items in lists.items():
            if metric[0] not in aggregations:
                continue
            function = aggregations[metric[0]]
            takes_arguments = "args" in inspect.signature(function).parameters
            try:
                with _impatient(self._judge):
                    value = function(items, args=self._arguments) if takes_arguments else function(items)
            except BaseException as error:  # noqa: BLE001 - the task's code
                problems.append(f"{named(metric)}: {described(error)}")
                continue
            if keep:
                self.raw[",".join(metric)] = value
                self.counted = len(items)
            found = dict(_leaf_numbers(named(metric), value))
            values.update(found)
            if not found:
                problems.append(f"{named(metric)}: no number (it gave {type(value).__name__})")
        return values, problems


def _without_thoughts(answer: Any, tags: Any) -> Any:
    if tags is None:
        return answer
    reasoning: Any = importlib.import_module("lmms_eval.api.reasoning")
    if isinstance(answer, str):
        return reasoning.strip_reasoning_tags(answer, tags)
    if isinstance(answer, list):
        return [
            reasoning.strip_reasoning_tags(each, tags) if isinstance(each, str) else each for each in answer
        ]
    return answer


def _losses(likelihood: Sequence[Any]) -> list[tuple[float, bool]]:
    """How likely an option is, as lmms-eval's models have it: the mean loss of its tokens, the smaller the likelier."""
    log_probability, tokens, greedy = likelihood
    return [(-log_probability / tokens, bool(greedy))]


def _place(instance: Any) -> int:
    return int(instance.idx)


def named(metric: tuple[str, str]) -> str:
    """A metric's name, with its filter's where that isn't the usual one."""
    return metric[0] if metric[1] == "none" else ",".join(metric)


def _by_id(instance: Any) -> int:
    return int(instance.doc_id)


def _number(value: Any, score_key: str) -> float | None:
    if isinstance(value, dict):
        value = value.get(score_key)
    if isinstance(value, (bool, int, float)) or type(value).__module__ == "numpy":
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None
    return None


def _leaf_numbers(name: str, value: Any) -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaf_numbers(f"{name}.{key}", each)
        return
    if isinstance(value, (bool, int, float)) or type(value).__module__ == "numpy":
        try:
            number = float(value)
        except (TypeError, ValueError):
            return
        yield name, number if math.isfinite(number) else None


def _unchanged(before: Any, after: Any) -> bool:
    """Whether aggregation left what it was given alone; some don't, and can't be called twice."""
    try:
        return bool(before == after)
    except Exception:  # noqa: BLE001 - arrays have no truth value
        return False


def _files() -> set[str]:
    """What lies in the scratch folder, with times: aggregations write submissions there."""
    return {
        f"{file.relative_to(Path.cwd())}"
        for folder, _dirs, names in os.walk(Path.cwd())
        for file in (Path(folder) / name for name in names)
    }


class _impatient:  # noqa: N801 - reads as a statement
    """While it stands, code that waits before it asks a judge again doesn't wait: the answer was final."""

    def __init__(self, judge: JudgeEndpoint) -> None:
        self._judge = judge

    def __enter__(self) -> None:
        self._sleep = time.sleep
        judge, sleep = self._judge, self._sleep
        time.sleep = lambda seconds: None if judge.refused else sleep(seconds)

    def __exit__(self, *_: object) -> None:
        time.sleep = self._sleep
