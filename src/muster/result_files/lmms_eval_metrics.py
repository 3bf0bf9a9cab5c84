"""Which of lmms-eval's metric values is an answer's score, and what stands for the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muster.core import ConfigurationError
from muster.result_files.answers import as_number
from muster.result_files.loaded import Headline
from muster.tasks.sources.row import Row

_NO_METRICS = frozenset(
    {
        "doc_id", "doc", "target", "arguments", "input", "input_media", "resps", "filtered_resps", "token_counts",
        "doc_hash", "prompt_hash", "target_hash", "submission", "filter",
    }
)  # fmt: skip
_INSIDE = ("score", "correct", "accuracy", "acc", "hit")
"""Where an object has its number."""
_READ, _GOLD = ("pred_answer", "parsed_pred"), "answer"
"""Objects without a number have what was read beside the right letter: Video-MME's, MMMU's."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The metrics whose value is an answer's score: one, or several of which each line has one (MME's)."""

    names: tuple[str, ...]
    headline: Headline | None
    letters: bool = False
    """Whether lines have no number, and the letter read is compared with the right one."""

    @property
    def name(self) -> str:
        """As tables show it."""
        shown = " / ".join(self.names)
        return f"{shown} (letter read = right letter)" if self.letters else shown

    def of(self, cells: Mapping[str, object]) -> float | None:
        """The score of one line."""
        read = _letter_score if self.letters else _number
        return next((value for name in self.names if (value := read(cells.get(name))) is not None), None)


def choose(rows: Sequence[Row], document: Mapping[str, object], task: str) -> Chosen:
    """The first metric that the task lists and all lines have; else those that the lines have between them.

    Metrics for which less is better are not taken. Raises `ConfigurationError` where no line has any number.
    """
    names = [name for name in _ordered(rows, document, task) if _better_if_higher(document, task, name)]
    for read, letters in ((_number, False), (_letter_score, True)):
        counts = {name: sum(read(row.cells.get(name)) is not None for row in rows) for name in names}
        found = tuple(name for name in names if counts[name])
        if not found:
            continue
        whole = next(((name,) for name in found if counts[name] == len(rows)), None)
        chosen = whole or (found if sum(counts[name] for name in found) <= len(rows) else found[:1])
        return Chosen(chosen, _headline(document, task, chosen), letters)
    raise ConfigurationError(
        f"{rows[0].place.rpartition(':')[0]}: no metric of {task} has a score for a single answer (there: "
        f"{', '.join(names) or 'none'}). `--predictions-of TASK` scores the answers by a task of Muster's"
    )


def filters_of(document: Mapping[str, object], task: str) -> list[str]:
    """The names of the task's filters, in their order."""
    config = _inside(document, "configs", task)
    listed = config.get("filter_list")
    return (
        [str(each.get("name")) for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else []
    )


def metadata(cells: Mapping[str, object]) -> dict[str, object]:
    """What the metrics' objects say of the question: its category, its video."""
    found: dict[str, object] = {}
    for name, value in cells.items():
        if name not in _NO_METRICS and isinstance(value, dict):
            found |= {
                key: each
                for key, each in value.items()
                if isinstance(each, str | int | float) and key not in (*_INSIDE, *_READ, _GOLD, "prediction")
            }
    return found


def _number(value: object) -> float | None:
    if isinstance(value, dict):
        return next((number for key in _INSIDE if (number := as_number(value.get(key))) is not None), None)
    if isinstance(value, list):
        return as_number(value[0]) if len(value) == 1 else None
    return None if isinstance(value, str) else as_number(value)


def _letter_score(value: object) -> float | None:
    if not isinstance(value, dict):
        return None
    read = next((value[name] for name in _READ if name in value), None)
    if isinstance(read, list):
        read = read[0] if len(read) == 1 else None
    gold = value.get(_GOLD)
    if isinstance(read, str) and isinstance(gold, str) and len(gold) == 1 and gold.isupper():
        return float(read == gold)
    return None


def _ordered(rows: Sequence[Row], document: Mapping[str, object], task: str) -> list[str]:
    config = _inside(document, "configs", task)
    listed = config.get("metric_list")
    names = (
        [str(each.get("metric")) for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else []
    )
    present = dict.fromkeys(name for row in rows for name in row.cells if name not in _NO_METRICS)
    return [name for name in dict.fromkeys([*names, *present]) if name in present]


def _better_if_higher(document: Mapping[str, object], task: str, name: str) -> bool:
    return _inside(document, "higher_is_better", task).get(name) is not False


def _headline(document: Mapping[str, object], task: str, names: Sequence[str]) -> Headline | None:
    scores = _inside(document, "results", task)
    for key, value in scores.items():
        metric = key.partition(",")[0]
        if metric == names[0] and (number := as_number(value)) is not None:
            return Headline(metric, number)
    return None


def _inside(document: Mapping[str, object], *path: str) -> Mapping[str, object]:
    found: object = document
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
