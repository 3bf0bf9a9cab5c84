"""A page that a model wrote, compared with the page's annotation, element by element.

Source: `End2EndDataset` of OmniDocBench 1.5. Positions and kinds are looked up by the numbers of the lines that aren't
empty in the list of all of them, as the authors do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from muster.metrics.documents.edit_distance import distance
from muster.metrics.documents.tables import teds
from muster.metrics.omnidocbench.blocks import Block, blocks_of
from muster.metrics.omnidocbench.matching import assigned, commonest, costs_of, matched, sure_lines
from muster.metrics.omnidocbench.texts import (
    cells_of,
    comparable_formula,
    comparable_table,
    comparable_text,
    latex_as_text,
    letters_of,
)
from muster.metrics.omnidocbench.truth import (
    FORMULA,
    IGNORED,
    TEXTS,
    Element,
    Page,
    array_body,
    array_rows,
    sorted_elements,
    with_rows_apart,
)

_FORMULAS = ("equation_inline", FORMULA)
_TABLES = ("html_table", "latex_table")


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared."""

    truth: str
    predicted: str


@dataclass(frozen=True, slots=True)
class Compared:
    """A page's pairs, and the order of its texts."""

    texts: Sequence[Pair]
    formulas: Sequence[Pair]
    tables: Sequence[Pair]
    right_order: Sequence[float]
    read_order: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Line:
    """A text to be compared, and where it is from."""

    text: str
    category: str
    original: str


def compared(prediction: str, page: Page) -> Compared:
    """The page by its elements."""
    truth = sorted_elements(page)
    blocks = blocks_of(prediction)
    mixed = [block for block in blocks if block.kind not in _TABLES]
    tables: list[Pair] = []
    if truth.tables:
        tables, cells = _tables(blocks, truth.tables)
        mixed += cells
    texts, formulas, right, read = _texts(with_rows_apart(truth.others), _rows_apart(mixed))
    return Compared(texts, formulas, tables, right, read)


def _tables(blocks: Sequence[Block], elements: Sequence[Element]) -> tuple[list[Pair], list[Block]]:
    """The tables, and the cells of those that belong to none: they count as texts. LaTeX's tables are worth nothing."""
    html = [block for block in blocks if block.kind == "html_table"]
    latex = [block for block in blocks if block.kind == "latex_table"]
    if len(latex) > len(html):
        return [Pair(_table(each.html), "") for each in elements if each.latex and each.html], []
    truth = [element.html for element in elements if element.html]
    if not truth or not html:
        return [Pair(_table(each), "") for each in truth], []
    chosen = dict(assigned(costs_of(truth, [block.content for block in html])))
    pairs = []
    for number, each in enumerate(truth):
        predicted = html[chosen[number]].content if number in chosen else ""
        pairs.append(Pair(_table(each), _table(predicted)))
    others = [block for number, block in enumerate(html) if number not in set(chosen.values())]
    cells = [
        replace(block, kind="text_all", content=cell) for block in others for cell in cells_of(block.content)
    ]
    return pairs, cells


def _table(table: str) -> str:
    return comparable_table(table) or table


def _rows_apart(blocks: Sequence[Block]) -> list[Block]:
    """In the order of the page, formulas in the line last; arrays of one column row by row."""
    ordered = sorted(blocks, key=lambda block: (block.fine == "equation_inline", block.place))
    rows: list[Block] = []
    for block in ordered:
        lines = array_rows(block.content) if block.kind == FORMULA else None
        if lines is None:
            rows.append(block)
            continue
        start, body = array_body(block.content)
        place = 0
        for line in lines:
            found = body.find(line, place)
            found = place if found < 0 else found
            place = found + len(line)
            rows.append(replace(block, content=f"\\[{line}\\]", place=block.place + start + found))
    return rows


def _texts(
    elements: Sequence[Element], blocks: Sequence[Block]
) -> tuple[list[Pair], list[Pair], list[float], list[float]]:
    truth = [line for line in map(_element_line, elements) if line.text and line.original]
    said = [line for line in map(_block_line, blocks) if line.text and line.original]
    kept = list(range(len(truth)))
    others = list(range(len(said)))
    if said and truth and not len(said) == len(truth) == 1:
        kept = [number for number in kept if truth[number].category not in IGNORED]
        ignored = [line.text for line in truth if line.category in IGNORED]
        taken = sure_lines(ignored, [line.text for line in said])
        others = [number for number in others if number not in taken]
    matches = matched([truth[number].text for number in kept], [said[number].text for number in others])
    texts: list[Pair] = []
    formulas: list[Pair] = []
    orders: list[tuple[list[float], int | None]] = []
    for match in matches if truth else ():
        category = commonest(truth[kept[number]].category for number in match.elements)
        first = blocks[others[match.lines[0]]] if match.lines else None
        pair = Pair(
            "".join(truth[kept[number]].text for number in match.elements),
            "".join(said[others[number]].text for number in match.lines),
        )
        if category in TEXTS:
            texts.append(pair)
            order = [elements[kept[number]].order or 0 for number in match.elements]
            orders.append((order, None if first is None else first.place))
        elif category == FORMULA:
            if first is None or first.category in _FORMULAS:
                formulas.append(pair)
            else:
                texts.append(
                    Pair(_as_text([truth[kept[number]] for number in match.elements]), pair.predicted)
                )
    right = sorted(order for places, _ in orders for order in places if order)
    read = sorted(
        ((place, places) for places, place in orders if place is not None), key=lambda each: each[0]
    )
    return texts, formulas, right, [order for _, places in read for order in places if order]


def _as_text(formulas: Sequence[_Line]) -> str:
    """A formula that the model wrote as a text."""
    latex = formulas[0].original
    if len(formulas) > 1:
        rows = ["{" + line.original.strip("$").strip("\n") + "}" for line in formulas]
        latex = "\\begin{array}{l} " + " \\\\ ".join(rows) + " \\end{array}"
    text = latex_as_text(latex)
    text = latex if text is None else text
    return letters_of(text) or text


def _element_line(element: Element) -> _Line:
    if element.category_type == FORMULA:
        latex = str(element.latex)
        return _Line(comparable_formula(latex), FORMULA, latex)
    text = str(element.text or "")
    return _Line(comparable_text(text), element.category_type, text)


def _block_line(block: Block) -> _Line:
    content = block.content
    text = comparable_formula(content) if block.kind == FORMULA else comparable_text(content)
    return _Line(text, block.category, content)


def edit_rate(pairs: Sequence[Pair]) -> float | None:
    """Edits over the lengths of the longer texts; None where there is nothing."""
    lengths = sum(max(len(pair.truth), len(pair.predicted)) for pair in pairs)
    edits = sum(distance(pair.predicted, pair.truth) for pair in pairs)
    return edits / lengths if lengths else None


def order_rate(compared: Compared) -> float | None:
    """The edit distance of the orders; None where there are none."""
    longest = max(len(compared.right_order), len(compared.read_order))
    return distance(compared.right_order, compared.read_order) / longest if longest else None


def mean_teds(pairs: Sequence[Pair], *, structure_only: bool = False) -> float | None:
    """The mean over the tables; None where there are none. What can't be parsed is worth nothing."""
    scores = [_teds(pair, structure_only) for pair in pairs]
    return sum(scores) / len(scores) if scores else None


def _teds(pair: Pair, structure_only: bool) -> float:
    try:
        return teds(pair.predicted, pair.truth, structure_only=structure_only)
    except ValueError:
        return 0.0
