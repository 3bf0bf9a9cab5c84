"""Samples that the data itself has spoilt: recorded as failed, without anybody being asked."""

from __future__ import annotations

import time
from collections.abc import Container, Sequence

from muster.core import Completion, Failure, RequestKey
from muster.results.journal import Journal
from muster.results.journal_lines import Record
from muster.tasks.plan import PlannedTask
from muster.tasks.samples import FAULT

RECORDED_BY = "data"
"""Whose record it is, where others have a worker's name."""


def record_faults(
    journal: Journal, planned: Sequence[PlannedTask], done: Container[RequestKey], attempt: int
) -> set[RequestKey]:
    """Journal a failure for each request whose sample has a fault. Returns those requests.

    Raises `RunError` where the journal can't be written.
    """
    found: set[RequestKey] = set()
    for each in planned:
        for sample in each.compact.having(FAULT):
            for repeat in range(each.repeats):
                key = each.key(sample, repeat)
                if key in done:
                    continue
                failure = Failure("sample", "DataFault", sample.fault)
                journal.append(Record(Completion(key, failure=failure), RECORDED_BY, time.time(), attempt))
                found.add(key)
    return found
