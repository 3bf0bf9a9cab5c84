"""The tables of the race, and its aims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.peers.race_rows import KILLED_AT, Row
from benchmarks.tables import say, table, verdict

OURS, MOST_COMMON = "Muster", "lmms-eval"
THEIRS = (MOST_COMMON, "VLMEvalKit")
"""Whose speed is an aim. vLLM's is not: its kernels are others."""
HEADER = (
    *("tool", "processes", "batch", "start", "load", "generate", "gather", "score, end", "**all**"),
    *("CPU s", "first saved", "answers/s", "answers/s generating", "score", "MiB", "exit"),
)


def print_tables(rows: Sequence[Row], samples: int, kernel_samples: int) -> bool:
    """All of it. Returns whether every aim that could be looked at was met."""
    demo = _medians(row for row in rows if row.part == "demo")
    kernels = _medians(row for row in rows if row.part == "kernels")
    for title, clean in (
        (f"{samples} answers of the demo model, seconds", demo),
        (
            f"{kernel_samples} answers of 8 to 256 tokens by a model whose kernels take the time, seconds",
            kernels,
        ),
    ):
        if clean:
            table(title, HEADER, [_clean(row) for row in clean])
    killed = [row for row in rows if row.part == "killed"]
    if killed:
        table(
            f"Killed (-9) with all processes at {KILLED_AT:.0%}, then the same command again",
            (
                *("tool", "answered", "kept", "lost", "asked by the restart", "made again"),
                *("seconds of the restart", "exit", "score"),
            ),
            [_killed(row) for row in killed],
        )
    _disturbed("One picture of them can't be decoded", "broken", rows, 1)
    _disturbed("One of two processes with a model is killed (-9) halfway", "dies", rows, 0)
    say(
        "Medians of the repeats. The default batch is 1 with lmms-eval, always 1 with VLMEvalKit, Muster's own choice. "
        "`start`: until a model begins to load; `load`: until it is first asked; `generate`: until the last answer; "
        "`gather`: after that, of any process waiting for others; by marks that `inside/sitecustomize.py` writes when "
        "`from_pretrained`, `generate` and collectives are called, in all tools. `answers/s`: of all the time. CPU "
        "seconds and resident memory are of all processes; pages that processes share count in each."
    )
    return all([*_speed_aims(demo), *_kernel_aims(kernels), *_loss_aims(killed)])


def _medians(rows: Iterable[Row]) -> list[Row]:
    """Of the repeats of each run the one of median time; by processes and batch, the tools side by side."""
    runs: dict[tuple[int, int, str], list[Row]] = {}
    for row in rows:
        runs.setdefault((row.processes, row.batch, row.tool), []).append(row)
    middle = [sorted(each, key=lambda row: row.seconds)[(len(each) - 1) // 2] for each in runs.values()]
    return sorted(middle, key=lambda row: (row.processes, row.batch))


def _clean(row: Row) -> list[str]:
    parts = ["–"] * 5 if row.phases is None else [f"{each:.1f}" for each in row.phases]
    rate = _rate(row)
    return [
        *(row.tool, str(row.processes), str(row.batch or "default"), *parts, f"**{row.seconds:.1f}**"),
        *(f"{row.cpu:.1f}", _seconds(row.first_saved), f"{row.samples / row.seconds:.1f}"),
        *("–" if rate is None else f"{rate:.1f}", _score(row), f"{row.memory / 2**20:,.0f}", _exit(row)),
    ]


def _rate(row: Row) -> float | None:
    """Answers per second of the time between the first question and the last answer."""
    return None if row.phases is None or row.score is None else row.samples / row.phases.generate


def _killed(row: Row) -> list[str]:
    return [
        *(row.tool, f"{row.answered} of {row.samples}", str(row.kept), str(row.answered - row.kept)),
        *(str(row.made), str(_again(row)), f"{row.seconds:.1f}", _exit(row), _score(row)),
    ]


def _again(row: Row) -> int:
    """Answers that had been given before and were asked for again."""
    return max(0, row.made - (row.samples - row.answered))


def _disturbed(title: str, part: str, rows: Sequence[Row], spoilt: int) -> None:
    shown = [
        [row.tool, f"{row.saved} of {row.samples - spoilt}", f"{row.seconds:.1f}", _exit(row), _score(row)]
        for row in rows
        if row.part == part
    ]
    if shown:
        table(title, ("tool", "answers saved", "seconds", "exit", "score"), shown)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"


def _score(row: Row) -> str:
    return "none" if row.score is None else f"{row.score:.4f}"


def _exit(row: Row) -> str:
    return "ended by the race" if row.status is None else str(row.status)


def _speed_aims(rows: Sequence[Row]) -> list[bool]:
    met = []
    for processes, share in ((1, 0.35), (2, 0.3)):
        found = {row.tool: row for row in rows if row.processes == processes and row.batch == 0}
        if not {OURS, MOST_COMMON} <= found.keys():
            continue
        ours, theirs = found[OURS], found[MOST_COMMON]
        ratio = ours.seconds / theirs.seconds
        what = f"{share} of lmms-eval's wall time with {processes} process{'es' if processes > 1 else ''}"
        met.append(verdict(f"at most {what} ({ratio:.2f})", ratio <= share))
        if processes == 1 and ours.first_saved and theirs.first_saved:
            first = ours.first_saved / theirs.first_saved
            met.append(
                verdict(f"the first saved answer after at most 0.3 of its time ({first:.2f})", first <= 0.3)
            )
    return met


def _kernel_aims(rows: Sequence[Row]) -> list[bool]:
    rates = {(row.tool, row.batch): rate for row in rows if (rate := _rate(row)) is not None}
    ours = rates.get((OURS, 0))
    others = {tool for tool, _ in rates if tool in THEIRS}
    if ours is None or not others:
        return []
    met = []
    for tool in sorted(others):
        one = rates[tool, 0]
        best = max(rate for (name, _), rate in rates.items() if name == tool)
        met += [
            verdict(
                f"4 times the answers per second of {tool} in batches of 1 ({ours / one:.1f})",
                ours >= 4 * one,
            ),
            verdict(f"1.5 times those of its best batch size ({ours / best:.2f})", ours >= 1.5 * best),
        ]
    return met


def _loss_aims(rows: Sequence[Row]) -> list[bool]:
    return [
        verdict(
            f"nothing lost and nothing made again after a kill ({row.answered - row.kept} and {_again(row)})",
            0 < row.answered <= row.kept and _again(row) == 0 and row.status == 0,
        )
        for row in rows
        if row.tool == OURS
    ]
