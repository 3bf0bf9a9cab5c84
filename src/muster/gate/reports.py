"""A decision in the forms that machines and pull requests read: JUnit XML and Markdown."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from muster.core.text import printable
from muster.gate.decision import Decision
from muster.gate.finding import Finding

_MARKS = {"holds": "✅", "broken": "❌", "open": "❔"}


def junit(decision: Decision) -> bytes:
    """JUnit XML: a test case per claim; broken ones failed, open critical ones errors, other open ones skipped."""
    suite = ET.Element("testsuite", name="muster gate", tests=str(len(decision.findings)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for finding in decision.findings:
        case = ET.SubElement(
            suite, "testcase", classname=f"muster.gate.{finding.tier}", name=printable(finding.claim)
        )
        if kind := _junit_kind(finding):
            counts[kind] += 1
            ET.SubElement(case, kind, message=printable(finding.sentence))
        else:
            ET.SubElement(case, "system-out").text = printable(finding.sentence)
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + body + b"\n"


def markdown(decision: Decision) -> str:
    """A summary for a pull request."""
    against = "" if decision.baseline is None else f" against `{_code(decision.baseline)}`"
    lines = [
        f"## {decision.verdict}",
        "",
        f"`{_code(decision.run)}`{against}",
        "",
        "| | claim | tier | what the samples say |",
    ]
    lines.append("|---|---|---|---|")
    lines += [
        f"| {_MARKS[each.outcome]} | {_cell(each.claim)} | {each.tier} | {_cell(each.sentence)} |"
        for each in decision.findings
    ]
    return "\n".join(lines) + "\n"


def _junit_kind(finding: Finding) -> str | None:
    if finding.outcome == "holds":
        return None
    if finding.tier == "advisory":
        return "skipped"
    if finding.outcome == "broken":
        return "failure"
    return "error" if finding.tier == "critical" else "skipped"


def _cell(text: str) -> str:
    escaped = "".join(f"\\{each}" if each in r"\`*_[]<>|#~" else each for each in printable(text))
    return escaped.replace("\n", " ")


def _code(text: str) -> str:
    return printable(text).replace("`", "'")
