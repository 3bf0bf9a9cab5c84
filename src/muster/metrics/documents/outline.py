"""Outlines of pages: titles with the lines below them, compared by tree edit distance (STEDS).

Source: OCRBench v2's `doc_parsing_evaluation`, which compares no texts: only empty lines differ from others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ROOT, _TITLE = "ROOT", "TITLE"
_CLEANED = [
    (re.compile("<bos>|<eos>|<pad>|<unk>"), ""),
    (re.compile(r"\s##(\S)"), r"\1"),
    (re.compile(r"\\\s"), r"\\"),
    (re.compile(r"\s\*\s\*\s"), "**"),
    (re.compile(r"{\s"), "{"),
    (re.compile(r"\s}"), "}"),
    (re.compile(r"\s}"), "}"),
    (re.compile(r"\\begin\s"), r"\\begin"),
    (re.compile(r"\\end\s"), r"\\end"),
    (re.compile(r"\\end{table}"), r"\\end{table} \n\n"),
]
_BLANKS = str.maketrans("\n*_", "   ")


@dataclass(slots=True)
class _Node:
    label: str
    children: list[_Node] = field(default_factory=list)


def outline_similarity(predicted: str, truth: str) -> float:
    """1 - edit distance of the two outlines / nodes of the larger one."""
    first, second = (_Postorder(_outline(text)) for text in (predicted, truth))
    return 1 - _distance(first, second) / max(len(first.blank), len(second.blank))


def _outline(text: str) -> _Node:
    """A line that begins with # is a title; others stand below the first node that says what the last title says."""
    root = _Node(_ROOT, [_Node(_TITLE)])
    parent = root.children[0]
    for line in map(_clean, text.split("\n")):
        if line.startswith("#"):
            title = line.replace("#", "")
            root.children.append(_Node(title))
            parent = _first(root, title) if title else root.children[0]
        else:
            parent.children.append(_Node(line))
    return root


def _first(root: _Node, label: str) -> _Node:
    """The first node in preorder that has the label."""
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        if node.label == label:
            return node
        open_nodes.extend(reversed(node.children))
    return root


def _clean(line: str) -> str:
    for pattern, replacement in _CLEANED:
        line = pattern.sub(replacement, line)
    return line.translate(_BLANKS)


class _Postorder:
    """A tree's nodes from the leaves up, as Zhang and Shasha number them."""

    def __init__(self, root: _Node) -> None:
        self.blank: list[bool] = []
        """Whether a node's label is empty or blank."""
        self.leftmost: list[int] = []
        """The number of a node's leftmost leaf."""
        pending: list[tuple[_Node, int, int]] = [(root, 0, -1)]  # a node, its next child, its leftmost leaf
        while pending:
            node, child, leaf = pending.pop()
            if child < len(node.children):
                pending.append((node, child + 1, len(self.blank) if child == 0 else leaf))
                pending.append((node.children[child], 0, -1))
                continue
            self.leftmost.append(len(self.blank) if leaf < 0 else leaf)
            self.blank.append(not node.label.split())
        self.keyroots = sorted({leaf: number for number, leaf in enumerate(self.leftmost)}.values())
        """The last node of each leftmost leaf."""


def _distance(first: _Postorder, second: _Postorder) -> int:
    """Zhang & Shasha 1989. Insertions, deletions, and changes of or into a blank node cost 1, other changes nothing."""
    known: dict[tuple[int, int], int] = {}
    for root in first.keyroots:
        for other in second.keyroots:
            _subtrees(first, second, root, other, known)
    return known[len(first.blank) - 1, len(second.blank) - 1]


def _subtrees(
    first: _Postorder, second: _Postorder, root: int, other: int, known: dict[tuple[int, int], int]
) -> None:
    """Fill in the distances of all subtrees on the leftmost paths of two subtrees."""
    left, right = first.leftmost[root], second.leftmost[other]
    above = list(range(other - right + 2))
    rows = [above]
    for row, i in enumerate(range(left, root + 1), start=1):
        current = [row]
        whole = first.leftmost[i] == left
        for column, j in enumerate(range(right, other + 1), start=1):
            best = min(above[column], current[-1]) + 1
            if whole and second.leftmost[j] == right:
                best = min(best, above[column - 1] + (first.blank[i] or second.blank[j]))
                known[i, j] = best
            else:
                before = rows[first.leftmost[i] - left][second.leftmost[j] - right]
                best = min(best, before + known[i, j])
            current.append(best)
        rows.append(current)
        above = current
