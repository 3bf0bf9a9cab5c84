"""The annotated elements of a page of OmniDocBench."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

TEXTS = ("text_block", "title", "code_txt", "code_txt_caption", "reference")
"""What the scores of text are of."""
IGNORED = (
    "equation_caption",
    "figure_caption",
    "figure_footnote",
    "table_caption",
    "table_footnote",
    "code_algorithm",
    "code_algorithm_caption",
    "header",
    "footer",
    "page_footnote",
    "page_number",
)
"""What a model may read or not."""
FORMULA = "equation_isolated"
_TRUNCATED = "truncated"
_ARRAY = re.compile(r"\\begin\{array\}\{(?P<columns>[^}]*)\}(?P<body>.*?)\\end\{array\}", re.DOTALL)
_ROW_END = re.compile(r"\\\\")
_NO_COLUMN = [re.compile(r"\s+|\|"), re.compile(r"@{[^}]*}"), re.compile(r"!{[^}]*}")]


class Element(msgspec.Struct, frozen=True):
    """What stands at one place of a page."""

    category_type: str
    anno_id: int | str | None = None
    order: float | None = None
    """In which it is read."""
    text: str | None = None
    latex: str | None = None
    html: str | None = None


class Relation(msgspec.Struct, frozen=True):
    """Of two elements."""

    relation_type: str = ""
    source_anno_id: int | str | None = None
    target_anno_id: int | str | None = None


class Page(msgspec.Struct, frozen=True):
    """A page's annotation, as far as it is compared."""

    elements: list[Element]
    relation: list[Relation] = msgspec.field(default_factory=list)


def read_page(answer: str) -> Page | None:
    """The annotation that a reference answer is, as JSON; None where it isn't one."""
    try:
        return msgspec.json.decode(answer, type=Page)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


@dataclass(frozen=True, slots=True)
class Sorted:
    """A page's elements in reading order."""

    tables: Sequence[Element]
    others: Sequence[Element]


def sorted_elements(page: Page) -> Sorted:
    """Parts of a text that was cut by a column or a page are one element."""
    by_category: dict[str, list[Element]] = defaultdict(list)
    groups = _cut_groups(page.relation)
    cut = {name for group in groups for name in group}
    parts = {element.anno_id: element for element in page.elements if element.anno_id in cut}
    for element in page.elements:
        if element.anno_id not in cut:
            by_category[element.category_type].append(element)
    for group in groups:
        found = sorted((parts[name] for name in group if name in parts), key=_order)
        if found:
            text = "".join(part.text or "" for part in found)
            by_category[found[0].category_type].append(msgspec.structs.replace(found[0], text=text))
    tables = sorted(by_category["table"], key=_order)
    others = [element for category in _categories() for element in by_category[category]]
    return Sorted(tables, sorted(others, key=_order))


def _categories() -> Iterator[str]:
    """In the authors' order, which decides between elements of the same order."""
    yield from TEXTS
    yield from IGNORED
    yield FORMULA


def _order(element: Element) -> float:
    return element.order or 0


def _cut_groups(relations: Sequence[Relation]) -> list[list[int | str | None]]:
    groups: list[list[int | str | None]] = []
    for relation in relations:
        if relation.relation_type != _TRUNCATED:
            continue
        pair = [relation.source_anno_id, relation.target_anno_id]
        joined = [group for group in groups if pair[0] in group or pair[1] in group]
        for group in joined:
            group.extend(pair)
        if not joined:
            groups.append(pair)
    return groups


def array_rows(latex: str) -> list[str] | None:
    """The rows of a formula that is an array of one column, each a formula; None where it is none."""
    found = _ARRAY.search(latex) if "\\begin{array" in latex else None
    if found is None:
        return None
    columns = found.group("columns")
    for pattern in _NO_COLUMN:
        columns = pattern.sub("", columns)
    if columns not in ("l", "c", "r"):
        return None
    return [row.strip() for row in _ROW_END.split(found.group("body")) if row.strip()]


def array_body(latex: str) -> tuple[int, str]:
    """Where the rows of an array begin, and what they are."""
    found = _ARRAY.search(latex)
    return (found.start("body"), found.group("body")) if found else (0, "")


def with_rows_apart(elements: Sequence[Element]) -> list[Element]:
    """Formulas that are arrays of one column, row by row."""
    rows: list[Element] = []
    for element in elements:
        lines = array_rows(element.latex or "") if element.category_type == FORMULA else None
        if lines is None:
            rows.append(element)
            continue
        base = float(element.order or 0)
        rows += [
            msgspec.structs.replace(element, latex=f"\\[{line}\\]", order=round(base + number / 10, 1))
            for number, line in enumerate(lines, start=1)
        ]
    return rows
