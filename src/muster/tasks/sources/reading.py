"""From the rows of a source to its samples: which are kept, and what is wrong with the others."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from muster.core import JSON, Sample
from muster.core.text import did_you_mean
from muster.tasks.problems import Problem, raise_problems
from muster.tasks.samples import ANSWERS, FAULT, SampleFields, Samples
from muster.tasks.sources.conditions import Condition
from muster.tasks.sources.field_rules import NamedColumn, Rules
from muster.tasks.sources.plain_rows import have_same_columns, plain_samples
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_reader import FieldProblem, RowReader
from muster.tasks.sources.turns import turns


class Reading:
    """Takes rows in their order, and collects samples and problems."""

    def __init__(
        self, reader: RowReader, where: Mapping[str, JSON], turns_column: str | None, *, with_places: bool
    ) -> None:
        """`with_places`: whether to remember where each id is, to say which is there twice; takes time and room."""
        self._reader = reader
        self.conditions = [Condition(key, wanted) for key, wanted in where.items()]
        self.samples = Samples()
        self.spoilt: list[Problem] = []
        """Of samples that can't be scored, because of what the data says of their choices or answers."""
        self._turns = turns_column
        self._places: dict[str, str] | None = {} if with_places else None
        self._hashes = array("q")
        self._unseen = _Unseen(where, reader.rules)
        self._problems: list[Problem] = []

    def wants_more(self, first: int) -> bool:
        """Whether it has fewer samples than that, or hasn't yet seen all the columns that the task file names."""
        return len(self.samples) < first or self._unseen.some

    @property
    def may_repeat_ids(self) -> bool:
        """Whether two samples seem to have the same id, where ids aren't remembered."""
        return len(np.unique(np.frombuffer(self._hashes, np.int64))) < len(self._hashes)

    def take(self, rows: Sequence[Row]) -> None:
        """Take the next rows, at least one."""
        if not self._take_plain(rows):
            for row in rows:
                self._take_one(row)

    def check(self, data: str) -> None:
        """Raise `ConfigurationError` where something was wrong: names that no row has, with `data`, or rows."""
        self._unseen.check(data)
        referenced = (
            sum(bool(each & (ANSWERS | FAULT)) for each in self.samples.traits()) if self.spoilt else 0
        )
        if 2 * len(self.spoilt) > referenced:  # no slip of the data: the task file reads it wrongly
            self._problems += self.spoilt
        raise_problems(self._problems)

    def _take_plain(self, rows: Sequence[Row]) -> bool:
        """Take rows that are all alike and in which nothing is odd; False, and nothing was done, for others."""
        odd = self._unseen.some or self._turns is not None or self.conditions or self._places is not None
        if odd or not have_same_columns(rows):
            return False
        samples = plain_samples(rows, self._reader.layout(rows[0]), self._reader.rules)
        if samples is None:
            return False
        self.samples.extend(samples)
        self._hashes.extend([hash(sample.id) for sample in samples])
        return True

    def _take_one(self, row: Row) -> None:
        layout = self._reader.layout(row)
        try:
            metadata = self._reader.metadata(row, layout)
            self._unseen.look(row, metadata)
            if not _kept(row, metadata, self.conditions):
                return
            read: Sequence[Sample | SampleFields] = (
                [self._reader.sample(row, layout, metadata)] if self._turns is None else self._dialogue(row)
            )
            for sample in read:
                self._note_id(sample.id, row.place)
                if sample.fault:
                    self.spoilt.append(Problem(row.place, sample.fault.removeprefix(f"{row.place}: ")))
        except FieldProblem as problem:
            self._unseen.look(row, {})
            self._problems.append(Problem(row.place, str(problem), problem.of_the_task))
        else:
            for sample in read:
                self.samples.append(sample)

    def _note_id(self, name: str, place: str) -> None:
        """Raise `FieldProblem` where another sample has this id, as far as ids are remembered."""
        if self._places is None:
            self._hashes.append(hash(name))
        elif name in self._places:
            message = f"{name!r} is already the id of {self._places[name]}; ids must be unique"
            raise FieldProblem(self._reader.rules.fields["id"].name or "id", message)
        else:
            self._places[name] = place

    def _dialogue(self, row: Row) -> list[Sample]:
        """The row's turns, each of which continues the one before."""
        read: list[Sample] = []
        name = self._reader.name(row, self._reader.layout(row))
        items = list(turns(row, self._turns or "", self._reader.rules.media_columns()))
        for turn in items:
            number = len(read) + 1
            layout = self._reader.layout(turn)
            try:
                metadata = self._reader.metadata(turn, layout)
                self._unseen.look(turn, metadata)
                sample = self._reader.sample(turn, layout, metadata).sample()
            except FieldProblem as problem:
                raise FieldProblem(f"turn {number}", str(problem)) from problem
            if sample.fault:  # the turns after it would have nothing to continue
                raise FieldProblem(f"turn {number}", sample.fault.removeprefix(f"{turn.place}: "))
            marks: Mapping[str, JSON] = {**metadata, "dialogue": name, "turn": number, "turns": len(items)}
            previous = read[-1] if read else None
            read.append(replace(sample, id=f"{name}-{number}", metadata=marks, previous=previous))
        return read


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

    @property
    def some(self) -> bool:
        """Whether there are any left."""
        return bool(self._columns or self._conditions)

    def look(self, row: Row, metadata: Mapping[str, JSON]) -> None:
        """Strike off what this row has."""
        if not self.some:
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
