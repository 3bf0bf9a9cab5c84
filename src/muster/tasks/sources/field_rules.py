"""What `source.fields` may say of one field of a sample: where a row holds it, and how it is written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

from muster.core.numbers import whole
from muster.core.text import did_you_mean
from muster.tasks.problems import shown
from muster.tasks.sources.references import (
    ColumnReference,
    Reference,
    parse_reference,
    parse_template,
)
from muster.tasks.yaml_lines import as_mapping

NativeField = Literal[
    "id",
    "question",
    "images",
    "image",
    "videos",
    "video",
    "clip_start",
    "clip_end",
    "frame_rate",
    "subtitles",
    "subtitles_from",
    "choices",
    "answer",
    "answers",
    "metadata",
]
NATIVE_FIELDS: tuple[NativeField, ...] = get_args(NativeField)
LIST_FIELDS = ("images", "videos", "choices", "answer", "answers")
"""Fields that several columns can make up."""
MEDIA_FIELDS: tuple[NativeField, ...] = ("image", "images", "video", "videos")

AnswerForm = Literal["letter", "index", "number", "text"]
"""How a multiple-choice answer is written: `B`; 1, from 0; 2, from 1; or as the choice itself."""

FieldValue: TypeAlias = "str | Sequence[str] | Mapping[str, object] | None"
"""A rule as a task file writes it."""
Columns: TypeAlias = "Mapping[str, FieldValue]"
"""Native field to its rule."""

_PAIRS: tuple[tuple[NativeField, NativeField], ...] = (
    ("image", "images"),
    ("video", "videos"),
    ("answer", "answers"),
)
_TWINS = (*_PAIRS, *((other, one) for one, other in _PAIRS))
_MASK = "mask"
_KEYS = ("column", "text", "given_as", "labels")


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where one field comes from."""

    references: tuple[Reference, ...]
    """None at all: the field is absent, whatever columns there are."""
    is_list: bool = False
    """Whether the references' values make up a list."""
    given_as: AnswerForm = "letter"
    labels: Mapping[str, str] = field(default_factory=dict)
    """What an answer stands for, by how it is written."""

    @property
    def name(self) -> str:
        """How messages name it; empty where there is no reference."""
        return ", ".join(reference.text for reference in self.references)


class NamedColumn(NamedTuple):
    """What a task file takes from a row."""

    label: str
    """Where the task file says so: `source.fields.question`."""
    reference: Reference


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of all fields, and metadata that has names of its own."""

    fields: Mapping[NativeField, FieldRule]
    """Of every field: without a rule in the task file, the column of its own name."""
    given: frozenset[NativeField] = frozenset()
    """Those that the task file has rules for."""
    metadata: Mapping[str, Reference] = field(default_factory=dict)
    """The columns that are metadata, by their names there; none at all: every column that isn't a field."""
    masks: frozenset[str] = frozenset()
    """The names of metadata whose columns are pictures, and that are to be run lengths."""

    def named_columns(self) -> list[NamedColumn]:
        """The columns that the task file names."""
        found = [
            NamedColumn(f"source.fields.{native}", reference)
            for native, rule in self.fields.items()
            if native in self.given
            for reference in rule.references
        ]
        return found + [
            NamedColumn(f"source.fields.metadata.{key}", reference)
            for key, reference in self.metadata.items()
        ]

    def media_columns(self) -> frozenset[str]:
        """The columns that images and videos come from."""
        return frozenset(
            column
            for native in MEDIA_FIELDS
            for reference in self.fields[native].references
            for column in (reference.text, *reference.columns)
        )


def parse_rules(columns: Columns) -> Rules:
    """The rules of a task file's `fields`. Raises `ValueError` for the first that is wrong (see `rule_problem`)."""
    fields = {native: FieldRule((ColumnReference(native),)) for native in NATIVE_FIELDS}
    metadata: dict[str, Reference] = {}
    masks: set[str] = set()
    given: set[NativeField] = set()
    for native, value in columns.items():
        if problem := rule_problem(native, value):
            raise ValueError(f"{native}: {problem}")
        mapping = as_mapping(value)
        if native == "metadata" and mapping is not None:
            masks = {key for key, text in mapping.items() if as_mapping(text) is not None}
            metadata = {key: parse_reference(_column_of(text)) for key, text in mapping.items()}
        else:
            name = cast("NativeField", native)
            fields[name] = _parse(value)
            given.add(name)
    for one, other in _TWINS:
        if one in given and other not in given:  # `images: image` doesn't mean the column `image` twice
            fields[other] = FieldRule(())
    return Rules(fields, frozenset(given), metadata, frozenset(masks))


def rule_problem(native: str, value: object) -> str | None:
    """What is wrong with the rule of a field; None where nothing is."""
    if native not in NATIVE_FIELDS:
        known = f"(there are: {', '.join(NATIVE_FIELDS)})"
        return f"not a field of the sample format{did_you_mean(native, NATIVE_FIELDS)} {known}"
    mapping = as_mapping(value)
    if mapping is not None:
        return _metadata_problem(mapping) if native == "metadata" else _mapping_problem(native, mapping)
    if value is None:
        return None
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        return f"{shown(value)} is neither a column's name nor a list of them"
    if isinstance(value, list) and native not in LIST_FIELDS:
        return f"takes one column; only {', '.join(LIST_FIELDS)} take several"
    return next((problem for name in names if (problem := _reference_problem(str(name)))), None)


def _column_of(rule: object) -> str:
    """The column of a metadata key: `level`, or `{mask: level}`."""
    mapping = as_mapping(rule)
    return str(rule if mapping is None else mapping[_MASK])


def _metadata_problem(mapping: Mapping[str, object]) -> str | None:
    for key, rule in mapping.items():
        inner = as_mapping(rule)
        text = inner[_MASK] if inner is not None and set(inner) == {_MASK} else rule
        if not isinstance(text, str):
            return f"{key}: {shown(text)} is neither a column's name nor a `mask: COLUMN`"
        if problem := _reference_problem(text):
            return f"{key}: {problem}"
    return None


def _mapping_problem(native: str, mapping: Mapping[str, object]) -> str | None:
    if unknown := [key for key in mapping if key not in _KEYS]:
        return f"unknown key {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)} (there are: {', '.join(_KEYS)})"
    if ("column" in mapping) == ("text" in mapping):
        return "give either `column` (a column, or a path into one) or `text` (a template)"
    text = mapping.get("column", mapping.get("text"))
    if not isinstance(text, str):
        return f"{shown(text)} is not a text"
    if problem := _reference_problem(text, template="text" in mapping):
        return problem
    if native not in ("answer", "answers") and (mapping.keys() & {"given_as", "labels"}):
        return "`given_as` and `labels` are for answers"
    form = mapping.get("given_as", "letter")
    if form not in get_args(AnswerForm):
        return f"given_as: {shown(form)} is none of {', '.join(get_args(AnswerForm))}"
    labels = mapping.get("labels", {})
    if not isinstance(labels, list | dict) or not all(
        isinstance(label, str) for label in (labels.values() if isinstance(labels, dict) else labels)
    ):
        return "labels: give a list of texts, or what each value stands for as a text (in quotes)"
    return None


def _reference_problem(text: str, template: bool = False) -> str | None:
    try:
        parse_template(text) if template else parse_reference(text)
    except ValueError as error:
        return str(error)
    return None


def _parse(value: object) -> FieldRule:
    if value is None:
        return FieldRule(())
    if isinstance(value, list | tuple):
        return FieldRule(tuple(parse_reference(str(name)) for name in value), is_list=True)
    mapping = as_mapping(value)
    if mapping is None:
        return FieldRule((parse_reference(str(value)),))
    reference = (
        parse_template(str(mapping["text"])) if "text" in mapping else parse_reference(str(mapping["column"]))
    )
    labels = mapping.get("labels") or {}
    pairs = labels.items() if isinstance(labels, dict) else enumerate(cast("list[str]", labels))
    return FieldRule(
        (reference,),
        given_as=cast("AnswerForm", mapping.get("given_as", "letter")),
        labels={_label_key(key): str(label) for key, label in pairs},
    )


def _label_key(key: object) -> str:
    """`true` for YAML's own, which cells are compared with."""
    return str(key).lower() if isinstance(key, bool) else str(whole(key))
