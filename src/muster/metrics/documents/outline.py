"""Outlines of pages: titles with the lines below them, compared by tree edit distance (STEDS).

Source: OCRBench v2's `doc_parsing_evaluation`, which compares no texts: only empty lines differ from others.
"""

from __future__ import annotations

import re

from muster.metrics.documents.tree_distance import Postorder, Tree, tree_edit_distance

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


def outline_similarity(predicted: str, truth: str) -> float:
    """1 - edit distance of the two outlines / nodes of the larger one."""
    first, second = (Postorder(_outline(text)) for text in (predicted, truth))
    return 1 - tree_edit_distance(first, second, lambda _label: 1, _change) / max(
        len(first.labels), len(second.labels)
    )


def _outline(text: str) -> Tree:
    """A line that begins with # is a title; others stand below the first node that says what the last title says."""
    root = Tree(_ROOT, [Tree(_TITLE)])
    parent = root.children[0]
    for line in map(_clean, text.split("\n")):
        if line.startswith("#"):
            title = line.replace("#", "")
            root.children.append(Tree(title))
            parent = _first(root, title) if title else root.children[0]
        else:
            parent.children.append(Tree(line))
    return root


def _first(root: Tree, label: str) -> Tree:
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


def _change(first: str, second: str) -> int:
    """Of or into a blank node; what others say doesn't count."""
    return int(not first.split() or not second.split())
