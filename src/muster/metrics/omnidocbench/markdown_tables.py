"""Markdown's tables as HTML, as the authors of OmniDocBench make them: each row a table first, then all of them one."""

from __future__ import annotations

import re

from muster.metrics.omnidocbench.ended import substitute, up_to_last

_TABLE = re.compile(r"<table>[\s\S]*?</table>")
_COMMENT = re.compile(r"<!--[\s\S]*?-->")
_FRAME = re.compile(r"</?t(able|head|body)>")


def rows_of(text: str) -> list[str]:
    """From a bar to the next bar at the end of a line."""
    rows: list[str] = []
    start = text.find("|")
    while start >= 0 and (end := text.find("|\n", start + 1)) >= 0:
        rows.append(text[start : end + 2])
        start = text.find("|", end + 2)
    return rows


def with_html_tables(text: str) -> str:
    """A page with its Markdown tables as HTML."""
    text = text.replace("\r", "") + "\n"
    for row in rows_of(text):
        text = text.replace(row, _as_table(row), 1)
    merged = _merged(text)
    return merged.replace("<table>", '<table border="1" >').replace("<td>", '<td colspan="1" rowspan="1">')


def _as_table(rows: str) -> str:
    lines = [line.strip() for line in rows.strip().split("\n")]
    head = "".join(f"      <th>{cell}</th>\n" for cell in _cells(lines[0]))
    body = "".join(
        "    <tr>\n" + "".join(f"      <td>{cell}</td>\n" for cell in _cells(line)) + "    </tr>\n"
        for line in lines[2:]
    )
    return (
        f"<table>\n  <thead>\n    <tr>\n{head}    </tr>\n  </thead>\n  <tbody>\n{body}  </tbody>\n</table>\n"
    )


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def _merged(text: str) -> str:
    """Tables that follow each other become one."""
    done: list[str] = []
    block, within, last = "", False, ""
    for line in text.split("\n"):
        if "<table>" in line:
            block, within = block + last, True
        elif within:
            if not _is_rule(last) and "</thead>" not in last:
                block += "\n" + last
            if "</table>" in last:
                done.append(_one_table(block))
                block, within = "", False
        else:
            done.append(last)
        last = line
    if last:
        done.append(_one_table(block + "\n" + last) if within or "</table>" in last else last)
    return "\n".join(done)


def _is_rule(line: str) -> bool:
    """Whether it may be the line below a table's head."""
    return ":" in line or "---" in line


def _one_table(text: str) -> str:
    lines: list[str] = []
    for table in _TABLE.findall(up_to_last(substitute(_COMMENT, "", text, "-->"), "</table>")):
        rows = [
            line.replace("<th>", "<td>").replace("</th>", "</td>") if "<th>" in line else line
            for line in table.split("\n")
        ]
        rows = [line for line in rows if not _FRAME.search(line)]
        if len(rows) > 2:
            lines.extend(rows)
    return "\n\n<table>\n" + "\n".join(lines) + "\n</table>\n\n"
