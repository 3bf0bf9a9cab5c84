"""Tables compared by TEDS, the tree-edit-distance-based similarity of PubTabNet (Zhong et al. 2020).

The edit distance is APTED's, whose sums are the references' to the last bit. What a cell says is compared by its
characters and tags. Sources: PubTabNet's script as OCRBench v2 and OmniDocBench keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from muster.metrics.documents.edit_distance import distance

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_CELL = "td"


@dataclass(slots=True)
class _Node:
    """A tag of a table; of cells also their spans and what they say."""

    tag: str
    spans: tuple[int, int] | None = None
    content: Sequence[str] = ()
    children: list[_Node] = field(default_factory=list)


class _Costs:
    """What APTED asks: every insertion and deletion costs 1."""

    valuecls = int

    def delete(self, _node: _Node) -> int:
        return 1

    def insert(self, _node: _Node) -> int:
        return 1

    def rename(self, first: _Node, second: _Node) -> float:
        """1 for other tags or spans; of two cells the normalised edit distance of what they say."""
        if (first.tag, first.spans) != (second.tag, second.spans):
            return 1.0
        if first.tag != _CELL or not (first.content or second.content):
            return 0.0
        return distance(first.content, second.content) / max(len(first.content), len(second.content))

    def children(self, node: _Node) -> list[_Node]:
        return node.children


Prepare = Callable[["HtmlElement"], None]


def teds(
    predicted: str, truth: str, *, structure_only: bool = False, prepare: Prepare | None = None
) -> float:
    """How much alike two HTML pages with a table each are: 1.0 is the same, 0.0 where one of them has no table.

    `prepare` may change a parsed table before it is compared. Raises `ValueError` for spans that are no numbers, and
    for what can't be parsed.
    """
    from apted import APTED

    tables = [_table(page, prepare) for page in (predicted, truth)]
    if tables[0] is None or tables[1] is None:
        return 0.0
    nodes = max(len(table.xpath(".//*")) for table in tables if table is not None)
    trees = [_tree(table, structure_only) for table in tables if table is not None]
    cost = float(APTED(trees[0], trees[1], _Costs()).compute_edit_distance())
    return 1.0 - cost / nodes if nodes else 0.0


def _table(page: str, prepare: Prepare | None) -> HtmlElement | None:
    from lxml import etree, html

    if not page:
        return None
    parser = html.HTMLParser(remove_comments=True, encoding="utf-8")
    try:
        found = html.fromstring(page, parser=parser).xpath("body/table")
    except etree.ParserError as error:
        raise ValueError(str(error)) from error
    if found and prepare is not None:
        prepare(found[0])
    return found[0] if found else None


def _tree(element: HtmlElement, structure_only: bool) -> _Node:
    if element.tag != _CELL:
        return _Node(element.tag, children=[_tree(child, structure_only) for child in element])
    spans = tuple(int(element.attrib.get(name, "1")) for name in ("colspan", "rowspan"))
    content: list[str] = []
    if not structure_only:
        _tokens(element, content)
    return _Node(_CELL, (spans[0], spans[1]), content[1:-1])


def _tokens(element: HtmlElement, tokens: list[str]) -> None:
    """A cell's characters and tags, its own first and last."""
    tokens.append(f"<{element.tag}>")
    tokens.extend(element.text or "")
    for child in element:
        _tokens(child, tokens)
    if element.tag != "unk":
        tokens.append(f"</{element.tag}>")
    if element.tag != _CELL:
        tokens.extend(element.tail or "")


def wrapped(table: str) -> str:
    """A table as a page: what is missing of the tags `table`, `body` and `html` is put around it."""
    text = table.replace("\n", "")
    begins, ends = "<table" in text, "</table>" in text
    text = ("" if begins else "<table>") + text + ("" if ends else "</table>")
    for tag in ("body", "html"):
        if f"<{tag}>" not in text:
            text = f"<{tag}>{text}</{tag}>"
    return text


def found_table(text: str) -> str | None:
    """An answer from its first `<body` on, else from its first `<table` on."""
    line = text.replace("\n", "")
    start = line.find("<body") if "<body" in line else line.find("<table")
    return line[start:] if start >= 0 else None


def markdown_table(text: str) -> str:
    """A Markdown table as a page; its second line is left out, whatever it says."""
    lines = text.strip("`markdown").strip("`").strip().split("\n")
    rows = [
        [cell.strip() if set(cell) != {" "} else " " for cell in line.strip().split("|")[1:-1]]
        for line in (lines[0], *lines[2:])
    ]
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<html><body><table>{table}</table></body></html>".replace("\n", "")


def dictionary_table(data: Mapping[object, object]) -> str:
    """Keys and values as a page with a table; the values' characters stand apart, as in OCRBench v2."""
    rows = (
        f"  <tr><td>{key}</td><td>{' '.join(value if isinstance(value, str) else str(value))}</td></tr>\n"
        for key, value in data.items()
    )
    return f"<html><body><table>\n{''.join(rows)}</table></body></html>"
