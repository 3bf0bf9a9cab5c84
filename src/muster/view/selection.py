"""Which runs are listed, in which order: pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from muster.view.summary import Score, Summary

PER_PAGE = 100
ORDERS: Mapping[str, Callable[[Summary], float | str]] = {
    "run": lambda run: run.name,
    "model": lambda run: run.label.lower(),
    "state": lambda run: run.state,
    "started": lambda run: run.created,
    "answers": lambda run: run.answered,
    "errors": lambda run: run.errored,
}
SCORE = "score"


@dataclass(frozen=True, slots=True)
class Query:
    """What an address of the list asks for."""

    words: str = ""
    sort: str = "started"
    descending: bool = True
    task: str = ""
    """Whose score is shown, and sorted by with `score`; a group's name, too."""
    page: int = 1

    @classmethod
    def of(cls, fields: Mapping[str, Sequence[str]]) -> Self:
        """From an address; what makes no sense is left out."""

        def first(name: str) -> str:
            return fields[name][0] if fields.get(name) else ""

        sort = first("sort")
        page = first("page")
        known = sort in ORDERS or (sort == SCORE and first("task"))
        return cls(
            words=first("q"),
            sort=sort if known else "started",
            descending=first("order") != "asc",
            task=first("task"),
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 9 else 1,
        )

    def address(self, **changes: object) -> str:
        """The query part of the address with `changes`, in the words of the fields of this class."""
        values = {
            "q": changes.get("words", self.words),
            "sort": changes.get("sort", self.sort),
            "order": "" if changes.get("descending", self.descending) else "asc",
            "task": changes.get("task", self.task),
            "page": changes.get("page", 1),
        }
        usual = {"sort": "started", "page": 1}
        return urlencode(
            {name: value for name, value in values.items() if value and value != usual.get(name)}
        )


def matching(runs: Sequence[Summary], query: Query) -> list[Summary]:
    """Those in which all words are found (folder, name, model, state, tasks), and which have a score for the task."""
    words = query.words.lower().split()
    return [
        run
        for run in runs
        if all(word in _searched(run) for word in words)
        and (not query.task or score_for(run, query.task) is not None)
    ]


def ordered(runs: Sequence[Summary], query: Query) -> list[Summary]:
    """As the query wants them; runs without a score come last in both directions."""
    by_name = sorted(runs, key=lambda run: run.name)
    if query.sort != SCORE:
        return sorted(by_name, key=ORDERS[query.sort], reverse=query.descending)
    values = {run.name: _value(run, query.task) for run in by_name}
    sign = -1 if query.descending else 1
    return sorted(
        by_name, key=lambda run: (math.isnan(values[run.name]), sign * _zero_for_nan(values[run.name]))
    )


def on_page(runs: Sequence[Summary], query: Query) -> Sequence[Summary]:
    """The hundred of the page that is asked for."""
    return runs[(query.page - 1) * PER_PAGE : query.page * PER_PAGE]


def score_for(run: Summary, task: str) -> Score | None:
    """Of a task, or a group."""
    return run.scores.get(task) or run.groups.get(task)


def tasks_of(runs: Sequence[Summary]) -> list[str]:
    """Groups and tasks that the runs have scores for, those of most runs first."""
    counts: dict[str, int] = {}
    for run in runs:
        for name in (*run.groups, *run.scores):
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def _searched(run: Summary) -> str:
    return "\n".join((run.name, run.label, run.model, run.state, *run.scores, *run.groups)).lower()


def _value(run: Summary, task: str) -> float:
    score = score_for(run, task)
    return math.nan if score is None or score.value is None else score.value


def _zero_for_nan(value: float) -> float:
    return 0.0 if math.isnan(value) else value
