"""The edit distance of ordered trees (Zhang & Shasha 1989), for any costs; whole numbers stay whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tree:
    """A node with what is below it, in order."""

    label: str
    children: list[Tree] = field(default_factory=list)


class Postorder:
    """A tree's labels from the leaves up, as Zhang and Shasha number them."""

    def __init__(self, root: Tree) -> None:
        self.labels: list[str] = []
        self.leftmost: list[int] = []
        """The number of a node's leftmost leaf."""
        pending: list[tuple[Tree, int, int]] = [(root, 0, -1)]  # a node, its next child, its leftmost leaf
        while pending:
            node, child, leaf = pending.pop()
            if child < len(node.children):
                pending.append((node, child + 1, len(self.labels) if child == 0 else leaf))
                pending.append((node.children[child], 0, -1))
                continue
            self.leftmost.append(len(self.labels) if leaf < 0 else leaf)
            self.labels.append(node.label)
        self.keyroots = sorted({leaf: number for number, leaf in enumerate(self.leftmost)}.values())
        """The last node of each leftmost leaf."""


def tree_edit_distance(
    first: Postorder, second: Postorder, alone: Callable[[str], int], change: Callable[[str, str], int]
) -> int:
    """The least cost of edits that make one tree of the other.

    `alone`: what it costs to insert or delete a node with this label; `change`: to give a node another label.
    """
    known: dict[tuple[int, int], int] = {}
    for root in first.keyroots:
        for other in second.keyroots:
            _subtrees(first, second, root, other, known, alone, change)
    return known[len(first.labels) - 1, len(second.labels) - 1]


def _subtrees(
    first: Postorder,
    second: Postorder,
    root: int,
    other: int,
    known: dict[tuple[int, int], int],
    alone: Callable[[str], int],
    change: Callable[[str, str], int],
) -> None:
    """Fill in the distances of all subtrees on the leftmost paths of two subtrees."""
    left, right = first.leftmost[root], second.leftmost[other]
    inserted = [alone(second.labels[j]) for j in range(right, other + 1)]
    above = [0]
    for cost in inserted:
        above.append(above[-1] + cost)
    rows = [above]
    for i in range(left, root + 1):
        deleted = alone(first.labels[i])
        current = [above[0] + deleted]
        whole = first.leftmost[i] == left
        for column, j in enumerate(range(right, other + 1), start=1):
            best = min(above[column] + deleted, current[-1] + inserted[column - 1])
            if whole and second.leftmost[j] == right:
                best = min(best, above[column - 1] + change(first.labels[i], second.labels[j]))
                known[i, j] = best
            else:
                before = rows[first.leftmost[i] - left][second.leftmost[j] - right]
                best = min(best, before + known[i, j])
            current.append(best)
        rows.append(current)
        above = current
