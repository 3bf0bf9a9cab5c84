"""Samples from rows: which rows, and which of their columns hold what (docs/tasks.md)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from muster.core import JSON, Sample
from muster.core.phases import counted
from muster.core.text import did_you_mean
from muster.tasks.problems import Problem, listed_problems, raise_problems
from muster.tasks.sources.conditions import Condition, why_nothing
from muster.tasks.sources.field_rules import Columns, NamedColumn, Rules, parse_rules
from muster.tasks.sources.media_cells import MediaPlace
from muster.tasks.sources.protocol import Located, RowSource
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_reader import FieldProblem, RowReader
from muster.tasks.sources.shaping import Join, exploded, joined
from muster.tasks.sources.turns import turns

log = logging.getLogger(__name__)


@dataclass(slots=True)
class MappedSource:
    """Implements `muster.tasks.definition.Source` over rows of any kind."""

    origin: RowSource
    where: Mapping[str, JSON] = field(default_factory=dict)
    """Keep the rows whose column or metadata of this name has this value, or one of a list of values."""
    fields: Columns = field(default_factory=dict)
    """Native field to its rule, over the kind's own."""
    allow_urls: bool = False
    """Whether images and videos may be http addresses."""
    joins: Sequence[Join] = ()
    explode: Sequence[str] = ()
    turns: str | None = None
    """The column whose items are the turns of a dialogue."""
    confined: bool = False
    """Whether it was downloaded: see `MediaPlace`."""
    expected_rows: int | None = None
    """As the task file says."""
    nothing_kept: str | None = field(default=None, init=False, compare=False)
    """Why `load` found no samples, where `where` is the reason: which values there are."""
    description: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        conditions = ", ".join(str(Condition(key, wanted)) for key, wanted in self.where.items())
        about = self.origin.description
        self.description = f"{about} ({conditions})" if conditions else about

    def load(self) -> list[Sample]:
        """The samples in the data's order. Media files are neither opened nor looked for.

        Raises:
            ConfigurationError: the data isn't there or isn't what it should be; or rows are wrong, with the line
                (or row) and field of each in one message.
        """
        located = self.origin.locate()
        rules = self._rules()
        reader = RowReader(rules, MediaPlace(located.folder, self.allow_urls, located.within, self.confined))
        unseen = _Unseen(self.where, rules)
        conditions = [Condition(key, wanted) for key, wanted in self.where.items()]
        samples: list[Sample] = []
        problems: list[Problem] = []
        spoilt: list[Problem] = []
        places: dict[str, str] = {}
        for row in self._rows(located, rules):
            try:
                metadata = reader.metadata(row)
                unseen.look(row, metadata)
                if not _kept(row, metadata, conditions):
                    continue
                read = (
                    [reader.sample(row, metadata)]
                    if self.turns is None
                    else self._dialogue(row, reader, unseen)
                )
                for sample in read:
                    if sample.id in places:
                        message = (
                            f"{sample.id!r} is already the id of {places[sample.id]}; ids must be unique"
                        )
                        raise FieldProblem(rules.fields["id"].name or "id", message)
                    places[sample.id] = row.place
                    if sample.fault:
                        spoilt.append(Problem(row.place, sample.fault.removeprefix(f"{row.place}: ")))
            except FieldProblem as problem:
                unseen.look(row, {})
                problems.append(Problem(row.place, str(problem), problem.of_the_task))
                continue
            samples += read
        data = str(located.files[0]) if located.files else self.description
        unseen.check(data)
        self.nothing_kept = None if samples else why_nothing(conditions)
        referenced = sum(bool(sample.answers or sample.fault) for sample in samples) if spoilt else 0
        if 2 * len(spoilt) > referenced:  # no slip of the data: the task file reads it wrongly
            problems += spoilt
        raise_problems(problems)
        if spoilt:
            listed = "\n".join(listed_problems(spoilt))
            counts = f"{len(spoilt)} of {len(samples)} samples"
            log.warning("%s can't be scored, and won't be asked:\n%s", counts, listed)
        return samples

    def revision(self) -> str:
        """A digest of the data and of all that decides what is made of it.

        Of image and video files beside the data only the names count, since the data holds them: replacing an
        image under the same name doesn't change the revision.
        """
        located = self.origin.locate()
        joins = [(j.records, j.own_key, j.key, j.name, j.many, j.optional) for j in self.joins]
        apart = [join.origin.digest(join.origin.locate()) for join in self.joins if join.apart]
        fields = {**self.origin.default_fields, **self.fields}
        decisive = [
            "mapped-1",
            dict(self.where),
            fields,
            joins,
            list(self.explode),
            *([f"turns {self.turns}"] if self.turns is not None else []),
            self.origin.digest(located),
            *apart,
        ]
        text = json.dumps(decisive, sort_keys=True, default=list)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def wrong_checksums(self) -> list[str]:
        """Files of the data that aren't what the task file says, one sentence each."""
        return self.origin.wrong_checksums()

    def _dialogue(self, row: Row, reader: RowReader, unseen: _Unseen) -> list[Sample]:
        """The row's turns, each of which continues the one before."""
        read: list[Sample] = []
        name = reader.name(row)
        items = list(turns(row, self.turns or "", reader.rules.media_columns()))
        for turn in items:
            number = len(read) + 1
            try:
                metadata = reader.metadata(turn)
                unseen.look(turn, metadata)
                sample = reader.sample(turn, metadata)
            except FieldProblem as problem:
                raise FieldProblem(f"turn {number}", str(problem)) from problem
            if sample.fault:  # the turns after it would have nothing to continue
                raise FieldProblem(f"turn {number}", sample.fault.removeprefix(f"{turn.place}: "))
            marks: Mapping[str, JSON] = {**metadata, "dialogue": name, "turn": number, "turns": len(items)}
            previous = read[-1] if read else None
            read.append(replace(sample, id=f"{name}-{number}", metadata=marks, previous=previous))
        return read

    def _rules(self) -> Rules:
        return parse_rules({**self.origin.default_fields, **self.fields})

    def _rows(self, located: Located, rules: Rules) -> Iterator[Row]:
        media = rules.media_columns()
        rows = counted(self.origin.rows(located, media))
        for join in self.joins:
            rows = joined(rows, join, media)
        return exploded(rows, self.explode) if self.explode else rows


def _kept(row: Row, metadata: Mapping[str, JSON], conditions: Sequence[Condition]) -> bool:
    return all(
        condition.fits(metadata.get(condition.key, row.cells.get(condition.key))) for condition in conditions
    )


class _Unseen:
    """Names in `where` and `fields` that no row had: misspelt, or the wrong file."""

    def __init__(self, where: Mapping[str, JSON], rules: Rules) -> None:
        self._columns = set(rules.named_columns())
        self._conditions = {(f"source.where.{key}", key) for key in where}
        self._known: dict[str, None] = {}

    def look(self, row: Row, metadata: Mapping[str, JSON]) -> None:
        """Strike off what this row has."""
        if not self._columns and not self._conditions:
            return
        self._known.update(dict.fromkeys((*row.cells, *metadata)))
        self._columns = {named for named in self._columns if _missing(named, row)}
        present = row.cells.keys() | metadata.keys()
        self._conditions = {(label, name) for label, name in self._conditions if name not in present}

    def check(self, data: str) -> None:
        """Raise `ConfigurationError` for the names that are left; data without rows has nothing to say."""
        if self._known:
            have = f"(there are: {', '.join(self._known)})"
            left = {(label, name) for label, reference in self._columns for name in reference.columns}
            left = {(label, name) for label, name in left if name not in self._known} | self._conditions
            raise_problems(
                [
                    Problem(data, f"{label}: no row has {name!r}{did_you_mean(name, self._known)} {have}")
                    for label, name in sorted(left)
                ]
            )


def _missing(named: NamedColumn, row: Row) -> bool:
    return named.reference.text not in row.cells and not named.reference.columns <= row.cells.keys()
