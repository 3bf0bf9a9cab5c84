"""Bounds on how a run went: errors, unreadable and cut-off answers, tokens, time, settings."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from muster.compare.comparison import run_in_task
from muster.compare.settings import setting_differences
from muster.gate.finding import Finding
from muster.gate.policy import Limits
from muster.result_files.loaded import LoadedRun


def completeness(run: LoadedRun, baseline: LoadedRun | None) -> list[Finding]:
    """An open claim for each run whose samples weren't all asked."""
    return [
        Finding(
            "all samples were asked",
            "open",
            f"{each.path} is not complete: samples have neither answer nor error",
        )
        for each in (run, baseline)
        if each is not None and not each.complete
    ]


def kept_limits(limits: Limits, run: LoadedRun, baseline: LoadedRun | None) -> list[Finding]:
    """A claim for each bound."""
    findings = [
        each
        for name, bound in (
            ("errors", limits.errors),
            ("unreadable", limits.unreadable),
            ("unfinished", limits.unfinished),
            ("cut_off", limits.cut_off),
        )
        if bound is not None
        for each in _shares(name, bound, run)
    ]
    if baseline is not None:
        for name, column, bound in (
            ("tokens", "tokens", limits.tokens_ratio),
            ("seconds of work", "seconds", limits.seconds_ratio),
        ):
            if bound is not None:
                findings.append(_ratio(name, column, bound, run, baseline))
        if limits.settings_may_differ is not None:
            findings.append(_drift(limits.settings_may_differ, run, baseline))
    return findings


_TOLD = {
    "errors": "samples without a score",
    "unreadable": "answers that could not be read",
    "unfinished": "answers that ended while thinking",
    "cut_off": "answers cut off at the token limit",
}


def _shares(name: str, bound: float, run: LoadedRun) -> list[Finding]:
    findings = []
    for task in run.tasks.values():
        count, total = getattr(run_in_task(task), name), len(task.rows)
        share = count / total if total else 0.0
        said = f"{count:,} of {total:,} are {_TOLD[name]} ({share:.2%}), {bound:.2%} allowed"
        findings.append(Finding(f"{task.name}: {name}", "holds" if share <= bound else "broken", said))
    return findings


def _ratio(name: str, column: str, bound: float, run: LoadedRun, baseline: LoadedRun) -> Finding:
    totals = []
    for each in (run, baseline):
        known = [
            task.rows[column]
            for task in each.tasks.values()
            if task.name in run.tasks and task.name in baseline.tasks
        ]
        totals.append(sum(float(value or 0) for rows in known for value in rows.to_pylist()))
    claim = f"{name}: at most {bound:g} times the baseline's"
    if not totals[1] or not totals[0]:
        return Finding(
            claim, "open", f"the {name} of {run.path if not totals[0] else baseline.path} are not known"
        )
    ratio = totals[0] / totals[1]
    said = f"{totals[0]:,.0f} {name} are {ratio:.3g} times the baseline's {totals[1]:,.0f}"
    return Finding(claim, "holds" if ratio <= bound else "broken", said)


def _drift(allowed: Sequence[str], run: LoadedRun, baseline: LoadedRun) -> Finding:
    differing = [
        each.name
        for each in setting_differences([baseline, run], list(run.tasks))
        if not any(fnmatch.fnmatchcase(each.name, form) for name in allowed for form in (name, f"{name}.*"))
    ]
    claim = f"only these settings differ: {', '.join(allowed) or 'none'}"
    if differing:
        return Finding(claim, "broken", f"these differ too: {', '.join(differing)}")
    return Finding(claim, "holds", "no other setting differs that the files know of")
