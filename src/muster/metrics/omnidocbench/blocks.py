"""The blocks of a page that a model wrote in Markdown: tables, formulas, code and paragraphs, and where they stand.

Source: `md_tex_filter` of OmniDocBench. What was found is replaced by blanks, so that places stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from muster.metrics.omnidocbench.ended import substitute, up_to_last
from muster.metrics.omnidocbench.markdown_tables import rows_of, with_html_tables

Kind = Literal["text_all", "equation_isolated", "html_table", "latex_table"]
_IMAGE = re.compile(r"!\[.*?\]\(.*?\)")
_FENCES = [re.compile(f"^```{name}\\n?", re.MULTILINE) for name in ("markdown", "html", "latex")]
_FENCE_END = re.compile(r"```\n?$", re.MULTILINE)
_PAGE_TAGS = ("<html>", "</html>", "<body>", "</body>")
_LATEX_TABLE = re.compile(r"\\begin{table}(.*?)\\end{table}", re.DOTALL)
_FORMULA = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_DOLLARS = re.compile(r"\$\$(.*?)\$\$|\$(.*?)\$|\\\((.*?)\\\)", re.DOTALL)
_HTML_TABLE = re.compile(r"(<table.*?</table>)", re.DOTALL)
_CODE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_LATEX_COMMANDS = [
    re.compile(r"\\title\{(.*?)\}"),
    re.compile(r"\\title\s*\{\s*(.*?)\s*\}", re.DOTALL),
    re.compile(r"\\text\s*\{\s*(.*?)\s*\}", re.DOTALL),
    re.compile(r"\\section\*?\{(.*?)\}"),
    re.compile(r"\\section\*?\{\s*(.*?)\s*\}", re.DOTALL),
]


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a page."""

    kind: Kind
    place: int
    """Where it begins."""
    content: str
    fine: str = ""

    @property
    def category(self) -> str:
        """What it is called in the results: a formula in the line is none on its own."""
        return self.fine or self.kind


@dataclass(frozen=True, slots=True)
class _Environment:
    """What encloses a table. The lengths are those of the authors' patterns, a character more than what they match."""

    begin: re.Pattern[str]
    end: re.Pattern[str]
    begin_length: int
    end_length: int


_TABULAR = _Environment(re.compile(r"\\begin{tabular}"), re.compile(r"\\end{tabular}"), 16, 14)
_HTML = _Environment(re.compile(r"<table(?:[^>]*)>"), re.compile(r"</table>"), 16, 8)


class _Page:
    """A page while its blocks are taken out."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.blocks: list[Block] = []

    def take(
        self, kind: Kind, start: int, end: int, content: str, fine: str = "", *, blank: bool = True
    ) -> None:
        """Note a block, and put blanks in its place."""
        self.blocks.append(Block(kind, start, content, fine))
        if blank:
            self.text = self.text[:start] + " " * (end - start) + self.text[end:]


def blocks_of(text: str) -> list[Block]:
    """The blocks by kind, kinds in the order in which they begin."""
    page = _Page(_without_fences(substitute(_IMAGE, "", text, ")")))
    for start, end in _latex_tables(page.text):
        page.take("latex_table", start, end, page.text[start:end])
    for start, end in _enclosed(page.text, _HTML):
        page.take("html_table", start, end, page.text[start:end])
    _take_formulas(page)
    if len(rows_of(page.text + "\n")) >= 2:
        page.text = with_html_tables(page.text)
        for table in _HTML_TABLE.finditer(up_to_last(page.text, "</table>")):
            page.take("html_table", *table.span(), table.group(0).strip(), "md2html_table")
    for code in _CODE.finditer(page.text):
        page.take("text_all", *code.span(), code.group(2).strip(), "code")
    for command in _LATEX_COMMANDS:
        page.text = substitute(command, r"\1", page.text, "}")
    page.blocks.extend(_paragraphs(page.text))
    ordered = sorted(page.blocks, key=lambda block: block.place)
    kinds = dict.fromkeys(block.kind for block in ordered)
    return [block for kind in kinds for block in ordered if block.kind == kind]


def _without_fences(text: str) -> str:
    for fence in _FENCES:
        text = fence.sub("", text)
    text = _FENCE_END.sub("", text)
    text = re.sub(" {4,}", "    ", re.sub("_{4,}", "____", text))
    for tag in _PAGE_TAGS:
        text = text.replace(tag, "")
    return text


def _latex_tables(text: str) -> list[tuple[int, int]]:
    tables = [found.span() for found in _LATEX_TABLE.finditer(up_to_last(text, r"\end{table}"))]
    for start, end in tables:
        text = text[:start] + " " * (end - start) + text[end:]
    spans = sorted([*tables, *_enclosed(text, _TABULAR)], key=lambda span: span[0])
    return [(start, min(end, len(text))) for start, end in spans]


def _enclosed(text: str, kind: _Environment) -> list[tuple[int, int]]:
    """The outermost environments; after one that doesn't end the search goes on behind its beginning."""
    spans: list[tuple[int, int]] = []
    begins = _Seeker(kind.begin, text)
    ends = _Seeker(kind.end, text)
    offset: int | None = 0
    while offset is not None and ends.after(offset) is not None:
        open_at: list[int] = []
        place = offset
        while place < len(text):
            begin, end = begins.after(place), ends.after(place)
            if begin is not None and (end is None or begin < end):
                open_at.append(begin)
                place = begin + kind.end_length
            elif end is not None:
                if open_at:
                    start = open_at.pop()
                    if not open_at:
                        spans.append((start, min(end + kind.end_length, len(text))))
                place = end + kind.end_length
            else:
                break
        offset = open_at[0] + kind.begin_length if open_at else None
    return spans


class _Seeker:
    """Where a pattern is found next; what was found once isn't looked for again."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self.pattern, self.text = pattern, text
        self.last: tuple[int, int | None] = (-1, -1)

    def after(self, place: int) -> int | None:
        """The first place from `place` on."""
        asked, known = self.last
        if asked <= place and (known is None or known >= place):
            return known
        found = self.pattern.search(self.text, place)
        self.last = (place, found.start() if found else None)
        return self.last[1]


def _take_formulas(page: _Page) -> None:
    for found in _FORMULA.finditer(page.text):
        line = " ".join(found.group(0).strip().split("\n"))
        dollars = _DOLLARS.search(line)
        if dollars is None:
            page.take("equation_isolated", *found.span(), line)
        elif dollars.group(1):
            page.take("equation_isolated", *found.span(), _DOLLARS.sub(r"\\[\1\\]", line))
        else:
            inline = _DOLLARS.sub(r"\\[\2\3\\]", line)
            page.take("equation_isolated", *found.span(), inline, "equation_inline", blank=False)


def _paragraphs(text: str) -> Iterator[Block]:
    """Texts between empty lines, or lines where there are no empty ones."""
    parts = text.split("\n\n")
    if len(parts) == 1:
        parts = text.split("\n")
    place = 0
    for part in parts:
        plain = "\n".join(line.strip() for line in part.strip().split("\n") if line.strip())
        if plain.startswith("<table") and plain.endswith("</table>"):
            yield Block("html_table", place, plain)
        elif plain.startswith("$") and plain.endswith("$"):
            if plain.replace("$", "").strip():
                yield Block("equation_isolated", place, plain)
        elif plain:
            yield Block("text_all", place, plain, "text_block")
        place += len(part)
