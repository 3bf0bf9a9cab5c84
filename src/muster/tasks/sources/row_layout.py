"""What can be told of rows that have the same columns: found out once, not for every one of a million."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from muster.tasks.sources.field_rules import NATIVE_FIELDS, FieldRule, NativeField, Rules
from muster.tasks.sources.references import TemplateReference


@dataclass(frozen=True, slots=True)
class Layout:
    """Where rows with certain columns have their fields. What is in none of these is in none of the rows."""

    columns: Mapping[NativeField, str]
    """Fields that are one column as it is."""
    made: frozenset[NativeField]
    """Fields that are put together: from several columns, a path into one, or a template."""
    letters: Sequence[str]
    """`A`, `B`, `C` … as far as there are such columns in a run, at least two: choices, where nothing else is."""
    others: Sequence[str]
    """The columns that aren't fields as they are; one that a template or a path is made of is metadata as well."""
    others_beside_letters: Sequence[str]
    has_images: bool
    has_videos: bool
    """Whether rows may have some."""

    @classmethod
    def of(cls, names: Sequence[str], rules: Rules) -> Layout:
        """The layout of rows with the columns `names`."""
        columns: dict[NativeField, str] = {}
        made: set[NativeField] = set()
        used: set[str] = set()
        for native in NATIVE_FIELDS:
            rule = rules.fields[native]
            used.update(reference.text for reference in rule.references)
            if (
                not rule.is_list
                and rule.references
                and rule.references[0].text in names
                and not _templates(rule)
            ):
                columns[native] = rule.references[0].text
            elif _templates(rule) or _touches(rule, names):
                made.add(native)
        letters = _letters(names)
        others = tuple(name for name in names if name not in used)
        beside = tuple(name for name in others if name not in letters)
        there = columns.keys() | made
        return cls(
            columns,
            frozenset(made),
            letters,
            others,
            beside,
            has_images=not there.isdisjoint(("image", "images")),
            has_videos=not there.isdisjoint(("video", "videos")),
        )


def _templates(rule: FieldRule) -> bool:
    return any(isinstance(reference, TemplateReference) for reference in rule.references)


def _touches(rule: FieldRule, names: Sequence[str]) -> bool:
    return any(
        reference.text in names or not reference.columns.isdisjoint(names) for reference in rule.references
    )


def _letters(names: Sequence[str]) -> Sequence[str]:
    run: list[str] = []
    for letter in ascii_uppercase:
        if letter not in names:
            break
        run.append(letter)
    return run if len(run) > 1 else []
