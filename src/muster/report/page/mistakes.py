"""Where a run is wrong: categories by their share of all errors, and what was read in place of the reference."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from muster.compare.pairing import AlignedTask, metadata_column, score_array
from muster.report.comparison_text import letter
from muster.report.page.markup import count_of, link, table, text
from muster.report.page.samples import category_key
from muster.report.page.scores import badge
from muster.result_files.answers import TARGETS_JOINED
from muster.results.intervals import mean_estimate

_MOST_CATEGORIES = 15
_MOST_CLASSES = 12
_LONGEST_CLASS = 60
_UNFOLDED = 2
"""Tasks whose confusions are shown at once; those with most mistakes."""
_SHADES = 4
_BAR = 160


class _Category(NamedTuple):
    task: str
    key: str
    value: str
    scores: tuple[list[float], ...]
    """Of each run."""

    @property
    def missed(self) -> float:
        """By the first run."""
        return sum(1.0 - score for score in self.scores[0])


def where_wrong(aligned: Sequence[AlignedTask]) -> Iterable[str]:
    """The section; nothing where there is nothing to show."""
    categories = _by_category(aligned)
    confusions = sorted(
        (found for task in aligned if (found := _confusions(task))), key=lambda each: -each.mistakes
    )
    if not categories and not confusions:
        return
    yield f"<h2>Where it is wrong</h2>{categories}"
    yield "".join(each.html for each in confusions[:_UNFOLDED])
    if more := confusions[_UNFOLDED:]:
        names = ", ".join(text(each.task) for each in more[:6]) + (" …" if len(more) > 6 else "")
        rest = "".join(each.html for each in more)
        yield f"<details><summary>{count_of(len(more), 'more task')}: {names}</summary>{rest}</details>"


def _by_category(aligned: Sequence[AlignedTask]) -> str:
    found = [each for task in aligned for each in _categories(task)]
    total = sum(each.missed for each in found)
    wrong = sorted((each for each in found if each.missed > 0), key=lambda each: -each.missed)
    if not wrong:
        return ""
    several = len(aligned[0].tasks) > 1
    rows = []
    for each in wrong[:_MOST_CATEGORIES]:
        share = each.missed / total
        shown = link(each.value, task=each.task, cat=each.value, show="wrong", title=each.key)
        rows.append(
            f'<tr><td>{text(each.task)}</td><th scope="row">{shown}</th>'
            f'<td class="share"><svg width="{_BAR}" height="10" aria-hidden="true">'
            f'<rect class="lost" width="{_BAR * share:.1f}" height="10"/></svg> {share:.1%}</td>'
            f"{''.join(map(_mean, each.scores))}"
            f'<td class="number">{len(each.scores[0]):,}</td></tr>'
        )
    means = [f"score {letter(run)}" if several else "score" for run in range(len(aligned[0].tasks))]
    which = " of A" if several else ""
    heads = ["task", "category", f"share of all errors{which}", *means, "samples"]
    return "<h3>By category, those with most of the errors first</h3>" + table(
        heads, rows, numbers=1 + len(means)
    )


def _mean(scores: list[float]) -> str:
    estimate = mean_estimate(scores)
    low, high = estimate.ci95 or (None, None)
    spread = "" if low is None or high is None else f' <span class="soft">({low:.2f} – {high:.2f})</span>'
    return f'<td class="number">{estimate.value:.3f}{spread}</td>'


def _categories(aligned: AlignedTask) -> list[_Category]:
    key = category_key(aligned.tasks[0])
    if not key:
        return []
    grouped: dict[str, tuple[list[float], ...]] = {}
    values = metadata_column(aligned.tasks[0], key).to_pylist()
    for run, task in enumerate(aligned.tasks):
        for value, score in zip(values, score_array(task).tolist(), strict=True):
            if value is not None and not math.isnan(score):
                grouped.setdefault(value, tuple([] for _ in aligned.tasks))[run].append(score)
    found = [_Category(aligned.name, key, *each) for each in grouped.items() if each[1][0]]
    return found if len(found) > 1 else []


class _Confusions(NamedTuple):
    task: str
    mistakes: int
    html: str


def _confusions(aligned: AlignedTask) -> _Confusions | None:
    """Reference against what was read, where both are few: choices, yes/no, digits."""
    parts, mistakes = [], 0
    for run, task in enumerate(aligned.tasks):
        golds, reads = task.rows["target"].to_pylist(), task.rows["extracted"].to_pylist()
        pairs = Counter(
            (gold, read or "")
            for gold, read in zip(golds, reads, strict=True)
            if gold and TARGETS_JOINED not in gold
        )
        rows, columns = (sorted({pair[place] for pair in pairs}) for place in (0, 1))
        few = 1 < len(rows) <= _MOST_CLASSES and len(columns) <= _MOST_CLASSES + 1
        if not few or any(len(name) > _LONGEST_CLASS for name in (*rows, *columns)):
            continue
        mistakes += sum(count for (gold, read), count in pairs.items() if gold != read)
        parts.append(_confusion(aligned, run, rows, columns, pairs))
    if not parts:
        return None
    title = f"<h3>{text(aligned.name)}: reference (rows) and what was read (columns)</h3>"
    return _Confusions(aligned.name, mistakes, f'{title}<div class="beside">{"".join(parts)}</div>')


def _confusion(
    aligned: AlignedTask, run: int, rows: list[str], columns: list[str], pairs: Mapping[tuple[str, str], int]
) -> str:
    lines = []
    for gold in rows:
        total = sum(pairs.get((gold, read), 0) for read in columns)
        cells = "".join(
            _cell(pairs.get((gold, read), 0), total, aligned.name, gold, read, run) for read in columns
        )
        lines.append(f'<tr><th scope="row">{text(gold)}</th>{cells}</tr>')
    corner = badge(run) if len(aligned.tasks) > 1 else '<span class="soft">↓ →</span>'
    heads = [corner, *(text(read) or "nothing" for read in columns)]
    return table(heads, lines, numbers=len(columns), compact=True)


def _cell(count: int, total: int, task: str, gold: str, read: str, run: int) -> str:
    if not count:
        return '<td class="number soft">·</td>'
    shade = math.ceil(_SHADES * count / total)
    kind = f"number {'hit' if gold == read else 'miss'}{shade}"
    shown = link(f"{count:,}", task=task, gold=gold, read=read, run=run)
    return f'<td class="{kind}">{shown}</td>'
