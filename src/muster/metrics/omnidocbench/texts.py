"""What is left of texts, formulas and tables before they are compared."""

from __future__ import annotations

import html
import re
import unicodedata

from muster.metrics.omnidocbench.ended import substitute

_INLINE = re.compile(r"\$(.*?)\$|\\\((.*?)\\\)")
_ESCAPED = re.compile(r"\\([\\_&%^])")
_KEPT = re.compile(r"[^\w\u4e00-\u9fff]")
_BREAKS = ("\\t", "\\n", "\t", "\n", "/t", "/n")
_DISPLAYED = re.compile(r"\\\[(.+?)(?<!\\)\\\]")
_DECORATIONS = [
    re.compile(pattern)
    for pattern in (
        r"\\tag\{.*?\}",
        r"\\hspace\{.*?\}",
        r"\\begin\{.*?\}",
        r"\\end\{.*?\}",
        r"\\arraycolsep.*?\}",
    )
]
_COMMANDS = (
    *(f"\\math{name}" for name in ("bf", "rm", "normal", "it", "bb", "cal", "scr", "frak", "sf", "tt")),
    *("\\textbf", "\\text", "\\boldmath", "\\boldsymbol", "\\operatorname", "\\bm", "\\symbfit"),
    *("\\mathbfcal", "\\symbf", "\\scriptscriptstyle", "\\notag", "\\setlength", "\\coloneqq", "\\space"),
    *("\\thickspace", "\\thinspace", "\\medspace", "\\nobreakspace", "\\negmedspace", "\\quad", "\\qquad"),
    *("\\enspace", "\\substackw", " ", "$$", "\\left", "\\right", "\\displaystyle", "\\text"),
)
"""Removed from formulas, one after the other."""
_TABLE = re.compile(r"<table\b[^>]*>(.*)</table>", re.DOTALL | re.IGNORECASE)
_ATTRIBUTES = [re.compile(f'( {name}=".*?")') for name in ("style", "height", "width", "align", "class")]
_TBODY = re.compile("</?tbody>")
_BLANKS = re.compile(r"\s+")
_CELL_TAGS = [f"<{end}{tag}>" for tag in ("sup", "sub", "span", "div", "p") for end in ("", "/")]
_COLUMNS = re.compile("<colgroup>.*?</colgroup>")


def comparable_text(text: str) -> str:
    """Letters, digits and Chinese characters, formulas in the line as they look."""
    return letters_of(_with_formulas_as_text(text))


def letters_of(text: str) -> str:
    """Letters, digits and Chinese characters."""
    for each in _BREAKS:
        text = text.replace(each, "")
    return _KEPT.sub("", text)


def _with_formulas_as_text(text: str) -> str:
    replaced = []
    for match in _INLINE.finditer(text):
        content = match.group(1) if match.group(1) is not None else match.group(2)
        clean = _ESCAPED.sub("", content)
        if not any(mark in clean for mark in "\\^_"):
            continue
        plain = latex_as_text(clean + " " if clean.endswith("\\") else clean)
        if plain is not None:
            replaced.append((match.start(), match.end(), plain))
    for start, end, plain in reversed(replaced):
        text = text[:start] + plain.strip() + text[end:]
    return text


def latex_as_text(text: str) -> str | None:
    """LaTeX in Unicode, by pylatexenc; None where that fails."""
    from pylatexenc.latex2text import LatexNodes2Text

    try:
        return str(LatexNodes2Text().latex_to_text(text))
    except Exception:  # noqa: BLE001 - a parser over whatever a model wrote; the authors go on, too
        return None


def comparable_formula(text: str) -> str:
    """LaTeX in small letters without fonts, blanks, numbers and environments."""
    text = text.strip().strip("$").strip("\n")
    displayed = _DISPLAYED.search(text)
    if displayed:
        text = displayed.group(1).strip()
    for decoration in _DECORATIONS:
        text = substitute(decoration, "", text, "}")
    text = text.strip(".")
    for command in _COMMANDS:
        text = text.replace(command, "")
    return text.lower()


def comparable_table(text: str) -> str:
    """An HTML table as a page, without styles and with headers as cells; empty where there is no table."""
    if "<table" not in text.replace(" ", ""):
        return ""
    plain = html.unescape(_with_plain_cells(text)).replace("\n", "")
    plain = "".join(_TABLE.findall(unicodedata.normalize("NFKC", plain).strip()))
    for attribute in _ATTRIBUTES:
        plain = attribute.sub("", plain)
    plain = _BLANKS.sub(" ", _TBODY.sub("", plain))
    page = f'<html><body><table border="1" >{plain}</table></body></html>'
    for tag in _CELL_TAGS:
        page = page.replace(tag, "")
    return _COLUMNS.sub("", page.replace('<spandata-span-identity="">', ""))


def _with_plain_cells(text: str) -> str:
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    for header in soup.find_all("th"):
        header.name = "td"
    for head in soup.find_all("thead"):
        head.unwrap()
    for formula in soup.find_all("math"):
        formula.replace_with(f"${formula.get('alttext', '')}$")
    for span in soup.find_all("span"):
        span.unwrap()
    return str(soup)


def cells_of(table: str) -> list[str]:
    """What the cells of an HTML table say, of those that hold nothing but a text."""
    from bs4 import BeautifulSoup

    texts = (cell.string for cell in BeautifulSoup(table, "html.parser").find_all("td"))
    return [re.sub(r"\$\\cdot\$", "", str(text)).strip() for text in texts if text]
