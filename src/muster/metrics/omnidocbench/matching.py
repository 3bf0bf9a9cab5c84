"""Which blocks of an answer belong to which elements of a page (`match_gt2pred_quick` of OmniDocBench 1.5).

Lines are matched so that the edit distances are least in all; before that neighbouring lines of the answer are joined
where that brings them nearer to an element, and afterwards elements that were left over are looked for within lines.
The authors give up after 30 seconds a page and match without joining; here nothing depends on time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muster.metrics.documents.edit_distance import distance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Costs = NDArray[np.float64]

_SURE = 0.25
"""A cost below which two lines belong together."""
_AT_MOST = 0.7
_WITHIN = 0.4
_JOINED = 0.6


@dataclass(frozen=True, slots=True)
class Match:
    """Elements and the lines of the answer that belong to them, by number; no lines: nothing was found."""

    elements: Sequence[int]
    lines: Sequence[int]


def costs_of(elements: Sequence[str], lines: Sequence[str]) -> Costs:
    """Normalised edit distances, (elements, lines)."""
    import numpy as np

    costs = np.zeros((len(elements), len(lines)))
    for row, element in enumerate(elements):
        for column, line in enumerate(lines):
            costs[row, column] = _cost(element, line)
    return costs


def _cost(first: str, second: str) -> float:
    longest = max(len(first), len(second))
    return distance(first, second) / longest if longest else 0.0


def assigned(costs: Costs) -> list[tuple[int, int]]:
    """The pairs of least total cost."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def sure_lines(elements: Sequence[str], lines: Sequence[str]) -> set[int]:
    """The lines that surely belong to some of the elements."""
    import numpy as np

    return {int(line) for _, line in np.argwhere(costs_of(elements, lines) < _SURE)} if elements else set()


def matched(elements: Sequence[str], lines: Sequence[str]) -> list[Match]:
    """Every element once; lines that belong to no element are left out."""
    if len(elements) == 1 and len(lines) == 1:
        return [Match([0], [0])]
    joined = _with_joined_lines(elements, lines)
    found: dict[int, tuple[int, ...]] = {}
    left: list[int] = []
    chosen = dict(assigned(joined.costs))
    for element in range(len(elements)):
        if element in chosen and joined.costs[element, chosen[element]] <= _AT_MOST:
            found[element] = joined.lines[chosen[element]]
        else:
            left.append(element)
    by_lines = _by_lines(found, _within_lines(left, elements, lines))
    return _complete(by_lines, elements, lines)


@dataclass(frozen=True, slots=True)
class _Joined:
    costs: Costs
    lines: Sequence[tuple[int, ...]]
    """What each column of the costs is made of."""


def _with_joined_lines(elements: Sequence[str], lines: Sequence[str]) -> _Joined:
    import numpy as np

    costs = costs_of(elements, lines)
    sure = [(int(element), int(line)) for element, line in np.argwhere(costs < _SURE)]
    sure_elements, sure_lines = {element for element, _ in sure}, {line for _, line in sure}
    wanted: list[tuple[Sequence[int], float]] = []
    for number, element in enumerate(elements):
        if number in sure_elements:
            continue
        runs = [
            _run(element, lines, first, sure_lines) for first in range(len(lines)) if first not in sure_lines
        ]
        if runs:
            run_costs = [_cost(element, " ".join(lines[run.start : run.stop])) for run in runs]
            best = min(run_costs)
            wanted.append((list(runs[run_costs.index(best)]), best))
    runs_kept = _compatible(wanted)
    if not runs_kept:
        return _Joined(costs, [(line,) for line in range(len(lines))])
    columns: list[tuple[int, ...]] = [(line,) for line in range(len(lines))]
    for run in runs_kept:
        place = columns.index((run[0],))
        columns[place : place + len(run)] = [tuple(run)]
    texts = [" ".join(lines[column[0] : column[-1] + 1]) for column in columns]
    return _Joined(costs_of(elements, texts), columns)


def _run(element: str, lines: Sequence[str], first: int, taken: set[int]) -> range:
    """As many lines from `first` on as belong together to be nearer to the element."""
    length = 1
    while first + length < len(lines) and first + length not in taken:
        belongs, more = _belongs(element, lines[first : first + length + 1])
        if not belongs:
            break
        length += 1
        if not more:
            break
    return range(first, first + length)


def _belongs(element: str, lines: Sequence[str]) -> tuple[bool, bool]:
    """Whether the last line belongs to those before it, and whether there may be more."""
    before, whole = " ".join(lines[:-1]), " ".join(lines)
    if _cost(element, whole) > _cost(element, before):
        return False, False
    nearest = [_nearest(element, line) for line in lines]
    if any(cost is None or cost > _JOINED for cost in nearest[:-1]):
        return False, False
    last = nearest[-1]
    if last is None:
        return False, False
    return last < _JOINED, len(whole) <= len(element)


def _nearest(text: str, part: str) -> float | None:
    """The least cost of a part in any place of a text; None where the part is longer or empty."""
    if not 0 < len(part) <= len(text):
        return None
    starts = range(len(text) - len(part) + 1)
    return min(distance(text[start : start + len(part)], part) for start in starts) / len(part)


def _compatible(wanted: Sequence[tuple[Sequence[int], float]]) -> list[Sequence[int]]:
    """Of runs of lines that overlap the set with the least mean cost."""
    if not wanted:
        return []
    ordered = sorted(wanted, key=lambda each: each[0][0])
    groups = [[ordered[0]]]
    for each in ordered[1:]:
        if any(_overlap(each[0], other[0]) for other in groups[-1]):
            groups[-1].append(each)
        else:
            groups.append([each])
    return [run for group in groups for run in _cheapest(group)]


def _overlap(first: Sequence[int], second: Sequence[int]) -> bool:
    return bool(set(first) & set(second))


def _cheapest(group: Sequence[tuple[Sequence[int], float]]) -> list[Sequence[int]]:
    if len(group) == 1:
        return [group[0][0]]
    paths = [[group[0]]]
    for each in group[1:]:
        fits = [_fits(path, each) for path in paths]
        if not any(fits):
            paths.append([each])
    best: list[Sequence[int]] = []
    least = float("inf")
    for path in paths:
        cost = sum(each[1] for each in path) / len(path)
        if cost < least:
            best, least = [run for run, _ in path], cost
    return best


def _fits(path: list[tuple[Sequence[int], float]], each: tuple[Sequence[int], float]) -> bool:
    """Put a run into a path if it overlaps with none there, or in the place of a dearer one of the same lines."""
    clashes = same = False
    for other in path:  # what is put at its end meanwhile is looked at, too
        if list(other[0]) == list(each[0]):
            clashes = same = True
            if other[1] > each[1]:
                path.remove(other)
                path.append(each)
        else:
            clashes = clashes or _overlap(other[0], each[0])
    if not clashes:
        path.append(each)
    return same or not clashes


def _within_lines(left: Iterable[int], elements: Sequence[str], lines: Sequence[str]) -> dict[int, list[int]]:
    """The elements that stand within a line, by line."""
    left = list(left)
    within = {
        number: [element for element in left if _is_within(elements[element], line)]
        for number, line in enumerate(lines)
    }
    return {number: found for number, found in within.items() if found}


def _is_within(element: str, line: str) -> bool:
    nearest = _nearest(line, element)
    return nearest is not None and nearest < _WITHIN


def _by_lines(
    found: Mapping[int, tuple[int, ...]], within: Mapping[int, Sequence[int]]
) -> dict[tuple[int, ...], list[int]]:
    """Elements by the lines that they were found in."""
    by_lines: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for element, lines in found.items():
        by_lines[tuple(sorted(lines))].append(element)
    seen = set(found)
    for line, elements in within.items():
        new = [element for element in elements if element not in seen]
        by_lines[(line,)].extend(new)
        seen.update(new)
    return dict(by_lines)


def _complete(
    by_lines: Mapping[tuple[int, ...], list[int]], elements: Sequence[str], lines: Sequence[str]
) -> list[Match]:
    """With what was left over on both sides."""
    pairs = [(element, key) for key, found in by_lines.items() for element in sorted(set(found))]
    elements_left = set(range(len(elements))) - {element for element, _ in pairs}
    lines_left = set(range(len(lines))) - {line for key in by_lines for line in key}
    if elements_left and lines_left:
        import numpy as np

        ordered, columns = list(elements_left), list(lines_left)
        costs = np.array([[_cost(elements[e], lines[line]) for line in columns] for e in ordered])
        pairs += [(ordered[row], (columns[column],)) for row, column in assigned(costs)]
    together: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for element, key in pairs:
        together[key].append(element)
    matches = [Match(found, key) for key, found in together.items()]
    alone = [element for element in range(len(elements)) if element not in {each for each, _ in pairs}]
    return matches + [Match([element], []) for element in alone]


def commonest(categories: Iterable[str]) -> str:
    """The category of most of a match's elements, the first one of several."""
    return Counter(categories).most_common(1)[0][0]
