"""A row of a data file as a sample: the native sample format, field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

import msgspec

from muster.core import JSON, Clip, Extent, Media, MediaKind, Sample
from muster.core.numbers import whole
from muster.tasks.problems import shown
from muster.tasks.sources.absent import absent
from muster.tasks.sources.answer_letter import as_letter
from muster.tasks.sources.field_rules import NATIVE_FIELDS, FieldRule, NativeField, Rules
from muster.tasks.sources.json_cells import plain
from muster.tasks.sources.list_text import looks_like_list, parse_list
from muster.tasks.sources.media_cells import MediaPlace, read_media
from muster.tasks.sources.references import Reference, TemplateReference
from muster.tasks.sources.row import Row
from muster.tasks.yaml_lines import as_mapping


class FieldProblem(Exception):  # noqa: N818 - it is reported, with others, as a ConfigurationError
    """What is wrong with one field of a row."""

    def __init__(self, name: str, message: str, *, of_the_task: bool = False) -> None:
        """`of_the_task`: the cause is in the task file, the same in every row."""
        super().__init__(f"{name}: {message}")
        self.of_the_task = of_the_task


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows by the `rules` of their fields, media from `place`."""

    rules: Rules
    place: MediaPlace

    def sample(self, row: Row, metadata: Mapping[str, JSON]) -> Sample:
        """The row as a sample with its `metadata`. Raises `FieldProblem` at the first field that is wrong."""
        choices, answers, fault = self._reference(row)
        return Sample(
            id=self._id(row),
            question=self._question(row),
            images=self._media(row, "image"),
            videos=self._videos(row),
            choices=choices,
            answers=answers,
            metadata=metadata,
            fault=fault,
        )

    def _reference(self, row: Row) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Choices, answers, and what is wrong with them where the rest of the row may well make sense.

        Raises `FieldProblem` where the cause is in the task file.
        """
        choices: tuple[str, ...] = ()
        try:
            choices = self._choices(row)
            return choices, self._answers(row, choices), ""
        except FieldProblem as problem:
            if problem.of_the_task:
                raise
            return choices, (), f"{row.place}: {problem}"

    def name(self, row: Row) -> str:
        """What the row's dialogue is called: its id, or its number."""
        return self._id(row)

    def metadata(self, row: Row) -> dict[str, JSON]:
        """The columns that the task file chose; else the `metadata` object and every column that isn't a field.

        Absent values are left out.
        """
        given = _decoded(self._get(row, "metadata"))
        explicit = as_mapping({} if given is None else given)
        if explicit is None:
            raise FieldProblem(self._name("metadata"), f"{shown(given)} is not an object with text keys")
        if self.rules.metadata:
            chosen = self.rules.metadata.items()
            merged = {key: _value(f"metadata.{key}", reference, row) for key, reference in chosen}
        else:
            used = self._used(row)
            merged = {key: value for key, value in row.cells.items() if key not in used}
            merged.update(explicit)
        # Bytes (an image column that the task doesn't use) can't be reported as JSON, so they aren't metadata.
        return {
            key: plain(value) for key, value in merged.items() if not absent(value) and not _has_bytes(value)
        }

    def _name(self, native: NativeField) -> str:
        """How messages name a field: by its column."""
        return self.rules.fields[native].name or native

    def _get(self, row: Row, native: NativeField) -> object:
        """The field's value; of several columns, the list of their values."""
        rule = self.rules.fields[native]
        values = [_value(self._name(native), reference, row) for reference in rule.references]
        if not rule.is_list:
            return values[0] if values and not absent(values[0]) else None
        while values and absent(values[-1]):
            values.pop()
        if native != "choices":  # a choice that is left out would shift the letters of those after it
            values = [value for value in values if not absent(value)]
        return values or None

    def _used(self, row: Row) -> set[str]:
        """Columns that are fields as they are; one that a template or a path is made of is metadata as well."""
        used: set[str] = set()
        for native in NATIVE_FIELDS:
            used.update(reference.text for reference in self.rules.fields[native].references)
        if self._get(row, "choices") is None:
            used.update(_letter_columns(row))
        return used

    def _id(self, row: Row) -> str:
        value = whole(self._get(row, "id"))
        if value is None:
            return str(row.number) if row.part is None else f"{row.number}-{row.part}"
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        raise FieldProblem(self._name("id"), f"{shown(value)} is neither a text nor a whole number")

    def _question(self, row: Row) -> str:
        name, value = self._name("question"), self._get(row, "question")
        if value is None:
            raise FieldProblem(name, "missing")
        if not isinstance(value, str):
            raise FieldProblem(name, f"{shown(value)} is not a text")
        if not value.strip():
            raise FieldProblem(name, "empty")
        return value

    def _choices(self, row: Row) -> tuple[str, ...]:
        name, value = self._name("choices"), self._get(row, "choices")
        if isinstance(value, str):
            value = _choices_in(name, value)
        if (options := as_mapping(value)) is not None:
            value = _by_letter(name, options)
        if value is None and self.rules.fields["choices"].references:
            letters = _letter_columns(row)
            name, value = ", ".join(letters), [row.cells[letter] for letter in letters]
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
        return tuple("" if absent(item) else _text(name, item) for item in value)

    def _answers(self, row: Row, choices: Sequence[str]) -> tuple[str, ...]:
        name, value, rule = self._one_or_many(row, "answer", "answers")
        answers = tuple(_answer(name, item, rule) for item in _items(value))
        if not choices:
            return answers
        try:
            return tuple(as_letter(answer, choices, rule.given_as) for answer in answers)
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error

    def _media(self, row: Row, kind: MediaKind) -> tuple[Media, ...]:
        name, value, _ = (
            self._one_or_many(row, "image", "images")
            if kind == "image"
            else self._one_or_many(row, "video", "videos")
        )
        try:
            return tuple(read_media(kind, item, self.place) for item in _items(value))
        except ValueError as error:
            raise FieldProblem(name, str(error)) from error

    def _videos(self, row: Row) -> tuple[Media, ...]:
        """The videos, with what the row says of which part of them is asked about, and of what is said in them."""
        videos = self._media(row, "video")
        if not videos:
            return ()
        start, end = self._number(row, "clip_start"), self._number(row, "clip_end")
        return tuple(
            replace(
                video,
                clip=None if start is None and end is None else Clip(start, end),
                frame_rate=self._number(row, "frame_rate"),
                subtitles=self._subtitles(row),
                subtitles_from=self._number(row, "subtitles_from") or 0.0,
            )
            for video in videos
        )

    def _number(self, row: Row, native: NativeField) -> float | None:
        value = self._get(row, native)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or isinstance(value, bool):
            raise FieldProblem(self._name(native), f"{shown(value)} is no number from 0 on")
        return number

    def _subtitles(self, row: Row) -> str | None:
        value = self._get(row, "subtitles")
        if value is None:
            return None
        name = self._name("subtitles")
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
        self, row: Row, single: NativeField, plural: NativeField
    ) -> tuple[str, object, FieldRule]:
        """A field that has a name for one value and one for several: the name in use, its value and rule.

        A text that is a list counts as one under the plural's name, and in formats whose cells are all texts.
        """
        one, many = self._get(row, single), self._get(row, plural)
        if one is not None and many is not None:
            raise FieldProblem(self._name(single), f"given beside {self._name(plural)}; leave one out")
        if one is not None:
            value = _decoded(one) if row.is_text and isinstance(one, str) and one.startswith("[") else one
            return self._name(single), value, self.rules.fields[single]
        if isinstance(many, str) and looks_like_list(many):
            many = _listed_text(self._name(plural), many)
        return self._name(plural), many, self.rules.fields[plural]


def _value(name: str, reference: Reference, row: Row) -> object:
    try:
        return reference.value(row.cells)
    except ValueError as error:
        raise FieldProblem(name, str(error), of_the_task=isinstance(reference, TemplateReference)) from error


def _items(value: object) -> list[object]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _answer(name: str, value: object, rule: FieldRule) -> str:
    """An answer as a text, and what it stands for where the rule has labels."""
    if not rule.labels:
        return _text(name, value)
    written = str(value).lower() if isinstance(value, bool) else _text(name, value)
    if written not in rule.labels:
        raise FieldProblem(name, f"{shown(value)} has no label (there are: {', '.join(rule.labels)})")
    return rule.labels[written]


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


def _letter_columns(row: Row) -> list[str]:
    """`A`, `B`, `C` … as far as the row has them in a run; at least two, else none."""
    run: list[str] = []
    for letter in ascii_uppercase:
        if letter not in row.cells:
            break
        run.append(letter)
    return run if len(run) > 1 else []


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
