"""A row of a data file as a sample: the native sample format, field by field."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from string import ascii_uppercase

import msgspec

from muster.core import JSON, Clip, Extent, Media, MediaKind
from muster.core.numbers import as_boolean, whole
from muster.tasks.problems import shown
from muster.tasks.samples import SampleFields
from muster.tasks.sources.absent import absent
from muster.tasks.sources.answer_letter import as_letters
from muster.tasks.sources.field_rules import FieldRule, NativeField, Rules
from muster.tasks.sources.json_cells import plain
from muster.tasks.sources.list_text import looks_like_list, parse_list
from muster.tasks.sources.masks import run_lengths
from muster.tasks.sources.media_cells import MediaPlace, read_media
from muster.tasks.sources.references import Reference, TemplateReference
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_layout import Layout
from muster.tasks.yaml_lines import as_mapping

_TEXTS = {str}
_LAYOUTS = 1024
"""Remembered at a time."""


class FieldProblem(Exception):  # noqa: N818 - it is reported, with others, as a ConfigurationError
    """What is wrong with one field of a row."""

    def __init__(self, name: str, message: str, *, of_the_task: bool = False) -> None:
        """`of_the_task`: the cause is in the task file, the same in every row."""
        super().__init__(f"{name}: {message}")
        self.of_the_task = of_the_task


class RowReader:
    """Reads rows by the `rules` of their fields, media from `place`."""

    def __init__(self, rules: Rules, place: MediaPlace) -> None:
        self.rules = rules
        self.place = place
        self._names = {native: rule.name or native for native, rule in rules.fields.items()}
        self._layouts: dict[tuple[str, ...], Layout] = {}

    def layout(self, row: Row) -> Layout:
        """Where this row, and all with the same columns, have their fields."""
        names = tuple(row.cells)
        layout = self._layouts.get(names)
        if layout is None:
            if len(self._layouts) >= _LAYOUTS:  # rows that hardly ever have the same columns
                self._layouts.clear()
            layout = self._layouts[names] = Layout.of(names, self.rules)
        return layout

    def sample(self, row: Row, layout: Layout, metadata: dict[str, JSON]) -> SampleFields:
        """The row as a sample with its `metadata`. Raises `FieldProblem` at the first field that is wrong."""
        choices, answers, fault = self._reference(row, layout)
        return SampleFields(
            self.name(row, layout),
            self._question(row, layout),
            self._media(row, layout, "image") if layout.has_images else (),
            self._videos(row, layout) if layout.has_videos else (),
            choices,
            answers,
            metadata,
            fault,
        )

    def _reference(self, row: Row, layout: Layout) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Choices, answers, and what is wrong with them where the rest of the row may well make sense.

        Raises `FieldProblem` where the cause is in the task file.
        """
        choices: tuple[str, ...] = ()
        try:
            choices = self._choices(row, layout)
            return choices, self._answers(row, layout, choices), ""
        except FieldProblem as problem:
            if problem.of_the_task:
                raise
            return choices, (), f"{row.place}: {problem}"

    def name(self, row: Row, layout: Layout) -> str:
        """The row's id, or its number; what its dialogue is called."""
        value = self._get(row, layout, "id")
        if type(value) is str:
            return value
        value = whole(value)
        if value is None:
            return str(row.number) if row.part is None else f"{row.number}-{row.part}"
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        raise FieldProblem(self._names["id"], f"{shown(value)} is neither a text nor a whole number")

    def metadata(self, row: Row, layout: Layout) -> dict[str, JSON]:
        """The columns that the task file chose; else the `metadata` object and every column that isn't a field.

        Absent values are left out.
        """
        given = _decoded(self._get(row, layout, "metadata"))
        explicit = {} if given is None else as_mapping(given)
        if explicit is None:
            raise FieldProblem(self._names["metadata"], f"{shown(given)} is not an object with text keys")
        values = row.cells
        if self.rules.metadata:
            chosen = self.rules.metadata.items()
            values = {key: _value(f"metadata.{key}", reference, row) for key, reference in chosen}
            if self.rules.masks:
                values |= {key: self._mask(key, values[key]) for key in self.rules.masks}
            names: Collection[str] = values
        else:
            choices = self._get(row, layout, "choices")
            names = layout.others_beside_letters if choices is None else layout.others
            if explicit:
                values = {**{name: values[name] for name in names}, **explicit}
                names = values
        metadata: dict[str, JSON] = {}
        for name in names:
            value = values[name]
            if type(value) is str:
                if value:
                    metadata[name] = value
            # Bytes (an image column that the task doesn't use) can't be reported as JSON, so they aren't metadata.
            elif not absent(value) and not _has_bytes(value):
                metadata[name] = plain(value)
        return metadata

    def _mask(self, key: str, value: object) -> JSON:
        try:
            return run_lengths(value, self.place)
        except (ValueError, TypeError) as error:
            raise FieldProblem(f"metadata.{key}", str(error)) from error

    def _get(self, row: Row, layout: Layout, native: NativeField) -> object:
        """The field's value; of several columns, the list of their values."""
        if (column := layout.columns.get(native)) is not None:
            value = row.cells[column]
            return value if value and type(value) is str else None if absent(value) else value
        return self._made(row, native) if native in layout.made else None

    def _made(self, row: Row, native: NativeField) -> object:
        rule = self.rules.fields[native]
        values = [_value(self._names[native], reference, row) for reference in rule.references]
        if not rule.is_list:
            return values[0] if values and not absent(values[0]) else None
        while values and absent(values[-1]):
            values.pop()
        if native != "choices":  # a choice that is left out would shift the letters of those after it
            values = [value for value in values if not absent(value)]
        return values or None

    def _question(self, row: Row, layout: Layout) -> str:
        value = self._get(row, layout, "question")
        if type(value) is str and not value.isspace():
            return value
        name = self._names["question"]
        if value is None:
            raise FieldProblem(name, "missing")
        if not isinstance(value, str):
            raise FieldProblem(name, f"{shown(value)} is not a text")
        raise FieldProblem(name, "empty")

    def _choices(self, row: Row, layout: Layout) -> tuple[str, ...]:
        name, value = self._names["choices"], self._get(row, layout, "choices")
        if isinstance(value, str):
            value = _choices_in(name, value)
        if not isinstance(value, list) and (options := as_mapping(value)) is not None:
            value = _by_letter(name, options)
        if value is None and layout.letters and self.rules.fields["choices"].references:
            name, value = ", ".join(layout.letters), [row.cells[letter] for letter in layout.letters]
            while value and absent(value[-1]):
                value.pop()
        if value is None:
            return ()
        if not isinstance(value, list):
            raise FieldProblem(name, f"{shown(value)} is not a list")
        while value and absent(value[-1]):
            value = value[:-1]
        if len(value) > len(ascii_uppercase):
            raise FieldProblem(
                name, f"{len(value)} choices, but only {len(ascii_uppercase)} letters to name them"
            )
        if set(map(type, value)) == _TEXTS:
            return tuple(value)
        return tuple("" if absent(item) else _text(name, item) for item in value)

    def _answers(self, row: Row, layout: Layout, choices: Sequence[str]) -> tuple[str, ...]:
        name, value, rule = self._one_or_many(row, layout, "answer", "answers")
        answers = [_answer(name, item, rule) for item in _items(value) if not _says_nothing(item)]
        if not choices:
            return tuple(answers)
        try:
            letters = [as_letters(answer, choices, rule.given_as) for answer in answers]
            return tuple(chain.from_iterable(letters))
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error

    def _media(self, row: Row, layout: Layout, kind: MediaKind) -> tuple[Media, ...]:
        name, value, _ = (
            self._one_or_many(row, layout, "image", "images")
            if kind == "image"
            else self._one_or_many(row, layout, "video", "videos")
        )
        try:
            return tuple(read_media(kind, item, self.place) for item in _items(value) if not _no_media(item))
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error

    def _videos(self, row: Row, layout: Layout) -> tuple[Media, ...]:
        """The videos, with what the row says of which part of them is asked about, and of what is said in them."""
        videos = self._media(row, layout, "video")
        if not videos:
            return ()
        start, end = self._number(row, layout, "clip_start"), self._number(row, layout, "clip_end")
        return tuple(
            replace(
                video,
                clip=None if start is None and end is None else Clip(start, end),
                frame_rate=self._number(row, layout, "frame_rate"),
                subtitles=self._subtitles(row, layout),
                subtitles_from=self._number(row, layout, "subtitles_from") or 0.0,
            )
            for video in videos
        )

    def _number(self, row: Row, layout: Layout, native: NativeField) -> float | None:
        value = self._get(row, layout, native)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or isinstance(value, bool):
            raise FieldProblem(self._names[native], f"{shown(value)} is no number from 0 on")
        return number

    def _subtitles(self, row: Row, layout: Layout) -> str | None:
        value = self._get(row, layout, "subtitles")
        if value is None:
            return None
        name = self._names["subtitles"]
        if not isinstance(value, str):
            raise FieldProblem(name, f"{shown(value)} is not the path of a file")
        try:
            path = read_media("video", value, self.place).path
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error
        if path is None:
            raise FieldProblem(name, f"{shown(value)} is not the path of a file")
        return path

    def _one_or_many(
        self, row: Row, layout: Layout, single: NativeField, plural: NativeField
    ) -> tuple[str, object, FieldRule]:
        """A field that has a name for one value and one for several: the name in use, its value and rule.

        A text that is a list counts as one under the plural's name, and in formats whose cells are all texts.
        """
        one, many = self._get(row, layout, single), self._get(row, layout, plural)
        if one is not None and many is not None:
            raise FieldProblem(self._names[single], f"given beside {self._names[plural]}; leave one out")
        if one is not None:
            value = _listed(one) if row.is_text and isinstance(one, str) and one.startswith("[") else one
            return self._names[single], value, self.rules.fields[single]
        if isinstance(many, str) and looks_like_list(many):
            many = _listed_text(self._names[plural], many)
        return self._names[plural], many, self.rules.fields[plural]


def _value(name: str, reference: Reference, row: Row) -> object:
    try:
        return reference.value(row.cells)
    except ValueError as error:
        raise FieldProblem(name, str(error), of_the_task=isinstance(reference, TemplateReference)) from error


def _no_media(item: object) -> bool:
    """Whether a place in a list is empty: null, or a struct of nulls, as columns of a fixed length have them."""
    cell = as_mapping(item)
    return absent(item) or (bool(cell) and cell is not None and all(map(absent, cell.values())))


def _items(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _says_nothing(answer: object) -> bool:
    """Whether it is no answer; in a list, too, null and blanks are none."""
    return answer.isspace() if isinstance(answer, str) and answer else absent(answer)


def _answer(name: str, value: object, rule: FieldRule) -> str:
    """An answer as a text, and what it stands for where the rule has labels."""
    if not rule.labels:
        return value if type(value) is str else _text(name, value)
    written = str(value).lower() if isinstance(value, bool) else _text(name, value)
    written = written if written in rule.labels else as_boolean(written)
    if written not in rule.labels:
        raise FieldProblem(name, f"{shown(value)} has no label (there are: {', '.join(rule.labels)})")
    return rule.labels[written]


def _listed(text: str) -> object:
    """The list that a cell says, as JSON or as Python prints texts; else the cell as it is."""
    value = _decoded(text)
    if value is not text or not text.startswith(("['", '["')) or not looks_like_list(text):
        return value
    try:
        return parse_list(text)
    except ValueError:
        return text


def _listed_text(name: str, text: str) -> list[object]:
    try:
        return parse_list(text)
    except ValueError as error:
        raise FieldProblem(name, f"{shown(text)} {error}") from error


def _choices_in(name: str, text: str) -> object:
    """The list or object that a text says."""
    return _decoded(text) if text.lstrip().startswith("{") else _listed_text(name, text)


def _by_letter(name: str, options: Mapping[str, object]) -> list[object]:
    """`{"A": …, "B": …}` as a list, the empty ones at the end left out. Raises `FieldProblem` for other names."""
    by_letter = {key.strip().upper(): value for key, value in options.items()}
    unknown = [key for key in options if key.strip().upper() not in list(ascii_uppercase)]
    if unknown or len(by_letter) < len(options):
        raise FieldProblem(
            name,
            f"{shown(dict(options))} has other names than A, B, C …; name the column's list as a path: "
            f"`choices: {name}.{next(iter(options), 'texts')}`",
        )
    filled = [letter for letter, value in by_letter.items() if not absent(value)]
    last = ascii_uppercase.index(max(filled)) + 1 if filled else 0
    return [by_letter.get(letter) for letter in ascii_uppercase[:last]]


def _decoded(value: object) -> object:
    """What a text that looks like a JSON list or object says; every other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _text(name: str, value: object) -> str:
    """A choice or an answer: texts as they are, numbers as they print."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and not absent(value):
        return str(whole(value))
    if isinstance(value, bool):
        raise FieldProblem(name, f"{'true' if value else 'false'} is not a text; put it in quotes")
    raise FieldProblem(name, f"{shown(value)} is neither a text nor a number")


def _has_bytes(value: object) -> bool:
    if isinstance(value, bytes | Extent):
        return True
    if isinstance(value, Mapping):
        return any(_has_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_bytes(item) for item in value)
    return False
