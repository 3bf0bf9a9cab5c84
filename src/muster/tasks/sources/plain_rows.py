"""Rows in which nothing is odd, read column by column: ten times faster than field by field, with the same result.

Of a million rows nearly all are like this: texts where texts are expected, letters that are there, no images. Whoever
meets something else says so, and `RowReader` reads those rows one by one, with its messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from operator import itemgetter
from string import ascii_uppercase

from muster.core import JSON
from muster.tasks.samples import SampleFields
from muster.tasks.sources.field_rules import Rules
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_layout import Layout

AT_ONCE = 256
"""Rows that are held at a time."""
_TEXT: set[type] = {str}
_SIMPLE: set[type] = {str, int, bool}
_LETTERS = {letter: (letter,) for letter in ascii_uppercase}

Texts = Sequence[str]


class _OddError(Exception):
    """One of the rows has to be looked at by itself."""


def plain_samples(rows: Sequence[Row], layout: Layout, rules: Rules) -> list[SampleFields] | None:
    """The samples of rows with this layout; None where one of them isn't plain."""
    if not _is_plain(layout, rules):
        return None
    cells = [row.cells for row in rows]
    try:
        questions = _filled(cells, layout.columns["question"])
        if any(map(str.isspace, questions)):
            return None
        choices = _choices(cells, layout, rules)
        answers = _answers(cells, layout, choices, is_text=rows[0].is_text)
        names = layout.others if "choices" in layout.columns else layout.others_beside_letters
        return list(
            map(
                SampleFields,
                _ids(rows, cells, layout),
                questions,
                repeat(()),
                repeat(()),
                repeat(()) if choices is None else choices,
                repeat(()) if answers is None else answers,
                _metadata(cells, names),
            )
        )
    except (_OddError, KeyError):
        return None


def have_same_columns(rows: Sequence[Row]) -> bool:
    """Whether the rows have the same columns in the same order."""
    return len({tuple(row.cells) for row in rows}) == 1


def _is_plain(layout: Layout, rules: Rules) -> bool:
    """Whether rows with this layout can be plain, whatever is in them."""
    columns, rule = layout.columns, rules.fields["answer"]
    return (
        not layout.made
        and not layout.has_images
        and not layout.has_videos
        and not rules.metadata
        and "metadata" not in columns
        and "answers" not in columns
        and rule.given_as == "letter"
        and not rule.labels
    )


def _column(cells: Iterable[Mapping[str, object]], name: str, kinds: set[type]) -> list[object]:
    values = list(map(itemgetter(name), cells))
    if not kinds.issuperset(map(type, values)):
        raise _OddError
    return values


def _filled(cells: Sequence[Mapping[str, object]], name: str) -> Texts:
    texts: list[str] = _column(cells, name, _TEXT)  # type: ignore[assignment]
    if not all(texts):
        raise _OddError
    return texts


def _filled_or_numbers(cells: Sequence[Mapping[str, object]], name: str) -> Texts:
    return (
        list(map(str, _column(cells, name, {int}))) if type(cells[0][name]) is int else _filled(cells, name)
    )


def _ids(rows: Sequence[Row], cells: Sequence[Mapping[str, object]], layout: Layout) -> Iterable[str]:
    name = layout.columns.get("id")
    if name is not None:
        return _filled_or_numbers(cells, name)
    if any(row.part is not None for row in rows):
        raise _OddError
    return [str(row.number) for row in rows]


def _choices(
    cells: Sequence[Mapping[str, object]], layout: Layout, rules: Rules
) -> Sequence[tuple[str, ...]] | None:
    """All of them filled; None where the rows have none."""
    if (name := layout.columns.get("choices")) is not None:
        lists: list[list[str]] = _column(cells, name, {list})  # type: ignore[assignment]
        texts = list(chain.from_iterable(lists))
        if set(map(type, texts)) != _TEXT or not all(texts) or not all(lists):
            raise _OddError
        if max(map(len, lists)) > len(ascii_uppercase):
            raise _OddError
        return list(map(tuple, lists))
    if layout.letters and rules.fields["choices"].references:
        return list(zip(*(_filled(cells, letter) for letter in layout.letters), strict=True))
    return None


def _answers(
    cells: Sequence[Mapping[str, object]],
    layout: Layout,
    choices: Sequence[tuple[str, ...]] | None,
    *,
    is_text: bool,
) -> Sequence[tuple[str, ...]] | None:
    """One each; None where the rows have none."""
    if (name := layout.columns.get("answer")) is None:
        return None
    answers = _filled_or_numbers(cells, name)
    if any(map(str.isspace, answers)):
        raise _OddError
    if choices is None:
        if is_text and "[" in {answer[0] for answer in answers}:
            raise _OddError
        return list(zip(answers, strict=True))
    known = ascii_uppercase[: min(map(len, choices))]
    if not set(answers).issubset(known):  # numbers are no letters
        raise _OddError
    return list(map(_LETTERS.__getitem__, answers))


def _metadata(cells: Sequence[Mapping[str, object]], names: Sequence[str]) -> Iterable[dict[str, JSON]]:
    if not names:
        return ({} for _ in cells)
    columns = [_column(cells, name, _SIMPLE) for name in names]
    if any("" in column for column in columns):
        raise _OddError
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
