"""What the scores of toolkits' tasks need of a run: its judge, a place for files, the groups' own rules."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from muster.core import JSON, Media, Message, MusterError, Part, RequestKey
from muster.core.request import Role
from muster.core.text import printable
from muster.metrics.protocol import Inquiry, UnscoredError
from muster.results.folder import RunFolder
from muster.results.results import GroupResults, MetricResult
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.toolkits.messages import GroupScores, Question
from muster.toolkits.metric import ToolkitMetric
from muster.toolkits.process import Answerer

log = logging.getLogger(__name__)

MOST_TOKENS = 1024
"""Of a verdict where the question doesn't say."""
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def toolkit_metrics(tasks: Iterable[Task]) -> Iterator[tuple[Task, ToolkitMetric]]:
    """The tasks that a toolkit scores, with that metric."""
    for task in tasks:
        if isinstance(task.metric, ToolkitMetric):
            yield task, task.metric


def answered_by(tasks: Iterable[Task], verdicts: VerdictBook) -> None:
    """Have `verdicts` answer what the tasks' own code asks a judge while it scores."""
    for task, metric in toolkit_metrics(tasks):
        metric.answer = _answerer(task.name, metric.toolkit, verdicts)
        metric.judged = verdicts.judge is not None


def _answerer(task: str, toolkit: str, verdicts: VerdictBook) -> Answerer:
    def answer(question: Question) -> tuple[str | None, str]:
        tokens = question.max_tokens or MOST_TOKENS
        try:
            inquiry = Inquiry(f"{toolkit}'s own", tuple(map(_message, question.messages)), tokens)
        except ValueError as error:
            return None, f"the question can't be put to a judge: {error}"
        if verdicts.ask is not None and not verdicts.answered(verdicts.key(inquiry)):
            verdicts.ask(RequestKey(task, question.document), inquiry)
        try:
            return verdicts.said(inquiry), ""
        except UnscoredError as error:
            return None, str(error)

    return answer


def _message(message: Mapping[str, JSON]) -> Message:
    role = _ROLES.get(str(message.get("role")), "user")
    content = message.get("content")
    if isinstance(content, str):
        return Message(role, (Part(text=content),))
    parts = content if isinstance(content, list) else []
    return Message(role, tuple(_part(part) for part in parts if isinstance(part, dict)))


def _part(part: Mapping[str, JSON]) -> Part:
    """Raises `ValueError` for what is neither text nor an image."""
    if part.get("type") == "text":
        return Part(text=str(part.get("text")))
    held = part.get("image_url")
    address = str(held.get("url")) if isinstance(held, dict) else str(held)
    if part.get("type") != "image_url" or not held:
        raise ValueError(f"it has a part of type {part.get('type')}")
    if not address.startswith("data:"):
        return Part(media=Media("image", url=address))
    try:
        content = base64.b64decode(address.partition(",")[2], validate=True)
    except binascii.Error as error:
        raise ValueError(f"its picture is no base64: {error}") from error
    return Part(media=Media("image", data=content))


def keep_files(tasks: Iterable[Task], folder: RunFolder) -> None:
    """Copy what the tasks' code wrote (submissions) into the run folder, and say which scores have no number."""
    for task, metric in toolkit_metrics(tasks):
        for problem in metric.problems:
            log.warning("task %s: %s", task.name, printable(problem))
        if metric.files:
            metric.session.take_files(metric.files, folder.toolkit_files)


def with_own_rules(groups: Mapping[str, GroupResults], tasks: Sequence[Task]) -> dict[str, GroupResults]:
    """The groups, with the scores that a toolkit's own rule gives them in front of Muster's."""
    merged = dict(groups)
    for metric in {id(each.session): each for _task, each in toolkit_metrics(tasks)}.values():
        try:
            frames = list(metric.session.ask({"do": "groups"}))
        except MusterError as error:
            log.warning("%s: no scores of its groups: %s", metric.toolkit, error)
            continue
        for scores in (frame.read(GroupScores) for frame in frames):
            name = f"{metric.toolkit}:{scores.name}"
            if scores.problem:
                log.warning("group %s: %s", name, printable(scores.problem))
            if name in merged and scores.values:
                own = {key: MetricResult(value, n=len(scores.tasks)) for key, value in scores.values.items()}
                merged[name] = replace(merged[name], metrics={**own, **merged[name].metrics})
    return merged
