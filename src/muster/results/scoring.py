"""Scores a run from its journal: the same results whatever order the answers came in, and from whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from muster.core import ConfigurationError, RequestKey
from muster.metrics.protocol import ScoredSample
from muster.results.aggregation import task_results
from muster.results.answer_scoring import Answer, Tally, score_record
from muster.results.files import replacing
from muster.results.folder import RunFolder
from muster.results.journal_read import JournalReader
from muster.results.manifest import Manifest
from muster.results.predictions import score_predictions
from muster.results.results import Results, TaskResults
from muster.results.samples_table import SampleTable
from muster.results.usage import Prices, UsageTotals
from muster.tasks.plan import PlannedTask

__all__ = ["score_predictions", "score_run"]


def score_run(
    folder: RunFolder,
    planned: Sequence[PlannedTask],
    *,
    manifest: Manifest,
    timing: Mapping[str, float] | None,
) -> Results:
    """Score the answers in the journal and write `results.json` and `samples.parquet`.

    Works on an unfinished run too: what is missing is counted, and `complete` is false. `timing=None` keeps the
    timing of the results that are there. Holds the texts of one task at a time in memory.
    Raises `RunError` where the files can't be written; the old ones are then unchanged.
    """
    tasks: dict[str, TaskResults] = {}
    usage = UsageTotals()
    with JournalReader(folder.journal) as journal:
        names = [name for each in planned for name in _score_names(each, journal)]
        with replacing(folder.samples) as temporary, SampleTable(temporary, names) as table:
            for each in planned:
                tasks[each.task.name] = _score_task(each, journal, table, usage)
    results = Results(
        run=manifest.run,
        model=manifest.model,
        complete=not any(task.samples.missing for task in tasks.values()),
        tasks=tasks,
        timing=_old_timing(folder) if timing is None else dict(timing),
        usage=usage.report(Prices.of(manifest.config)),
    )
    results.save(folder.results)
    return results


def _score_task(
    planned: PlannedTask, journal: JournalReader, table: SampleTable, usage: UsageTotals
) -> TaskResults:
    rows: list[ScoredSample] = []
    tally = Tally()
    for answer in _answers(planned, journal):
        tally.add(answer)
        table.add(answer)
        if answer.record is not None and answer.record.completion.succeeded:
            usage.add(answer.record.completion.usage)
        if answer.scored is not None:
            rows.append(answer.scored)
    return task_results(planned.task, rows, tally.counts())


def _answers(planned: PlannedTask, journal: JournalReader) -> Iterator[Answer]:
    """What became of each request, in the order of `PlannedTask.keys`."""
    task = planned.task
    for sample in planned.samples:
        for repeat in range(planned.repeats):
            record = journal.get(RequestKey(task.name, sample.id, repeat))
            yield score_record(task.name, task.metric, sample, repeat, record)


def _score_names(planned: PlannedTask, journal: JournalReader) -> list[str]:
    """The names of the task's scores, which all its answers share: read off the first that can be scored."""
    task = planned.task
    for sample in planned.samples:
        for repeat in range(planned.repeats):
            key = RequestKey(task.name, sample.id, repeat)
            if journal.succeeded(key):
                answer = score_record(task.name, task.metric, sample, repeat, journal.get(key))
                if answer.scored is not None:
                    return list(answer.scores)
    return []


def _old_timing(folder: RunFolder) -> dict[str, float | None]:
    try:
        return Results.load(folder.results).timing
    except ConfigurationError:
        return {}
