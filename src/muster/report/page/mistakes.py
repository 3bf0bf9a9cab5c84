"""Where a run is wrong: categories by their share of all errors, and what was read in place of the reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from muster.compare.pairing import AlignedTask, metadata_column, score_array
from muster.report.comparison_text import letter
from muster.report.page.markup import link, table, text
from muster.report.page.samples import category_key
from muster.results.intervals import mean_estimate

_MOST_CATEGORIES = 15
_MOST_CLASSES = 12
_LONGEST_CLASS = 60
_BAR = 160


class _Category(NamedTuple):
    task: str
    key: str
    value: str
    scores: list[float]

    @property
    def missed(self) -> float:
        return sum(1.0 - score for score in self.scores)


def where_wrong(aligned: Sequence[AlignedTask]) -> Iterable[str]:
    """The section; nothing where there is nothing to show."""
    categories = _by_category(aligned)
    confusions = [each for task in aligned for each in _confusions(task)]
    if categories or confusions:
        yield f'<h2>Where it is wrong</h2>{categories}<div class="beside">{"".join(confusions)}</div>'


def _by_category(aligned: Sequence[AlignedTask]) -> str:
    found = [each for task in aligned for each in _categories(task)]
    total = sum(each.missed for each in found)
    wrong = sorted((each for each in found if each.missed > 0), key=lambda each: -each.missed)
    if not wrong:
        return ""
    rows = []
    for each in wrong[:_MOST_CATEGORIES]:
        share = each.missed / total
        estimate = mean_estimate(each.scores)
        interval = "" if estimate.ci95 is None else f"{estimate.ci95[0]:.3f} – {estimate.ci95[1]:.3f}"
        name = link(each.value, task=each.task, cat=each.value, show="wrong", title=each.key)
        rows.append(
            f'<tr><td>{text(each.task)}</td><th scope="row">{name}</th>'
            f'<td><svg width="{_BAR}" height="10" aria-hidden="true">'
            f'<rect class="lost" width="{_BAR * share:.1f}" height="10"/></svg> {share:.1%}</td>'
            f'<td class="number">{estimate.value:.3f}</td><td class="number">{interval}</td>'
            f'<td class="number">{len(each.scores):,}</td></tr>'
        )
    heads = ["task", "category", "share of all errors", "score", "95 % interval", "samples"]
    return "<h3>By category, those with most of the errors first</h3>" + table(heads, rows, numbers=3)


def _categories(aligned: AlignedTask) -> list[_Category]:
    task = aligned.tasks[0]
    key = category_key(task)
    if not key:
        return []
    grouped: dict[str, list[float]] = {}
    for value, score in zip(metadata_column(task, key).to_pylist(), score_array(task).tolist(), strict=True):
        if value is not None and not math.isnan(score):
            grouped.setdefault(value, []).append(score)
    return [_Category(aligned.name, key, *each) for each in grouped.items()] if len(grouped) > 1 else []


def _confusions(aligned: AlignedTask) -> Iterator[str]:
    """Reference against what was read, where both are few: choices, yes/no, digits."""
    for number, task in enumerate(aligned.tasks):
        golds, reads = task.rows["target"].to_pylist(), task.rows["extracted"].to_pylist()
        pairs = Counter(
            (gold, read or "") for gold, read in zip(golds, reads, strict=True) if gold and "\x1f" not in gold
        )
        rows, columns = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
        few = 1 < len(rows) <= _MOST_CLASSES and len(columns) <= _MOST_CLASSES + 1
        if not few or any(len(name) > _LONGEST_CLASS for name in (*rows, *columns)):
            continue
        name = f", {letter(number)}" if len(aligned.tasks) > 1 else ""
        lines = []
        for gold in rows:
            cells = (_cell(pairs[gold, read], aligned.name, gold, read, number) for read in columns)
            lines.append(
                f'<tr><th scope="row">{text(gold)}</th>'
                + "".join(f"<td class=number>{c}</td>" for c in cells)
            )
        heads = ["", *(text(read) or "nothing" for read in columns)]
        counts = table(heads, lines, numbers=len(columns), compact=True)
        yield f"<div><h3>{text(aligned.name)}{name}: reference (rows), read (columns)</h3>{counts}</div>"


def _cell(count: int, task: str, gold: str, read: str, run: int) -> str:
    return link(f"{count:,}", task=task, gold=gold, read=read, run=run, bad=gold != read) if count else "·"
