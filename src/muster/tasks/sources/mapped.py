"""Samples from rows: which rows, and which of their columns hold what (docs/tasks.md)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from muster.core import JSON
from muster.core.phases import advance
from muster.tasks.problems import listed_problems
from muster.tasks.samples import Samples
from muster.tasks.sources.conditions import Condition, why_nothing
from muster.tasks.sources.field_rules import Columns, Rules, parse_rules
from muster.tasks.sources.media_cells import MediaPlace
from muster.tasks.sources.plain_rows import AT_ONCE
from muster.tasks.sources.protocol import Located, RowSource
from muster.tasks.sources.reading import Reading
from muster.tasks.sources.row import Row
from muster.tasks.sources.row_reader import RowReader
from muster.tasks.sources.shaping import Join, exploded, joined

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

    def load(self, first: int | None = None) -> Samples:
        """The samples in the data's order, or the `first` so many. Media files are neither opened nor looked for.

        Rows behind the first are read only as far as it takes to see the columns that the task file names.

        Raises:
            ConfigurationError: the data isn't there or isn't what it should be; or rows are wrong, with the line
                (or row) and field of each in one message.
        """
        located = self.origin.locate()
        reading = self._read(located, first, with_places=False)
        if reading.may_repeat_ids:
            reading = self._read(located, first, with_places=True)
        samples = reading.samples
        reading.check(str(located.files[0]) if located.files else self.description)
        self.nothing_kept = None if samples else why_nothing(reading.conditions)
        if spoilt := reading.spoilt:
            listed = "\n".join(listed_problems(spoilt))
            counts = f"{len(spoilt)} of {len(samples)} samples"
            log.warning("%s can't be scored, and won't be asked:\n%s", counts, listed)
        return samples

    def _read(self, located: Located, first: int | None, *, with_places: bool) -> Reading:
        rules = self._rules()
        place = MediaPlace(located.folder, self.allow_urls, located.within, self.confined)
        reading = Reading(RowReader(rules, place), self.where, self.turns, with_places=with_places)
        rows = self._rows(located, rules)
        while (first is None or reading.wants_more(first)) and (some := list(islice(rows, AT_ONCE))):
            reading.take(some)
            advance(len(some))
        return reading

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

    def _rules(self) -> Rules:
        return parse_rules({**self.origin.default_fields, **self.fields})

    def _rows(self, located: Located, rules: Rules) -> Iterator[Row]:
        media = rules.media_columns()
        rows = self.origin.rows(located, media)
        for join in self.joins:
            rows = joined(rows, join, media)
        return exploded(rows, self.explode) if self.explode else rows
