"""Scores a run from its journal: the same results whatever order the answers came in, and from whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice

from muster.core import ConfigurationError, RequestKey
from muster.core.phases import counted, phase
from muster.metrics.protocol import CorpusMetric, Metric, WholeTaskMetric
from muster.results.aggregation import TaskScores, scorable
from muster.results.answer_scoring import (
    Answer,
    names_of_all,
    score_record,
    scores_of,
    with_corpus_scores,
)
from muster.results.clusters import Clusters
from muster.results.files import replacing
from muster.results.folder import RunFolder
from muster.results.groups import group_results
from muster.results.journal_read import JournalReader
from muster.results.manifest import Manifest
from muster.results.predictions import score_predictions
from muster.results.results import JudgeResults, Layout, Results, TaskResults
from muster.results.samples_table import SampleTable
from muster.results.scoring_limits import watching
from muster.results.usage import Prices, UsageTotals
from muster.results.verdicts import VerdictBook
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.toolkits.scoring import answered_by, keep_files, with_own_rules

__all__ = ["score_predictions", "score_run"]

_LOOKED_UP = 128
_WRITTEN = 32
"""Answers looked up in the journal, and written, together: so few that the garbage collector has nothing to do."""


def score_run(
    folder: RunFolder,
    planned: Sequence[PlannedTask],
    *,
    manifest: Manifest,
    timing: Mapping[str, float] | None,
    groups: Mapping[str, Sequence[str]] | None = None,
    verdicts: VerdictBook | None = None,
    into: RunFolder | None = None,
    changed: Sequence[str] = (),
) -> Results:
    """Score the answers in the journal and write `results.json` and `samples.parquet`, or those of the folder `into`.

    Works on an unfinished run too: what is missing is counted, and `complete` is false. `timing=None` keeps the
    timing of the results that are there. `groups` are scored together, by name.
    `changed`: what of the data differs from what was asked, to be noted.
    `verdicts`: a judge's; by default those in the folder, of the judge that was asked last.
    Holds the scored answers of one task at a time in memory.
    Raises `RunError` where the files can't be written; the old ones are then unchanged.
    """
    tasks: dict[str, TaskResults] = {}
    usage = UsageTotals()
    verdicts = verdicts or _kept_verdicts(folder, manifest)
    toolkits = [each.task for each in planned if isinstance(each.task.metric, WholeTaskMetric)]
    if toolkits:
        answered_by(toolkits, verdicts)
    with JournalReader(folder.journal) as journal:
        names: list[str] = []
        further: dict[str, list[str]] = {}
        for each in planned:
            names += _score_names(each, each.task.metric, journal, verdicts)
            for metric in scorable(each.task).also:
                further.setdefault(metric.info.variant, []).extend(
                    _score_names(each, metric, journal, verdicts)
                )
        with (
            replacing((into or folder).samples) as temporary,
            SampleTable(temporary, names, further) as table,
        ):
            for each in planned:
                tasks[each.task.name] = _score_task(each, journal, table, usage, verdicts)
    together = group_results(tasks, groups or {})
    keep_files(toolkits, into or folder)
    results = Results(
        run=manifest.run,
        name=manifest.name,
        model=manifest.model,
        model_args=manifest.model_args,
        complete=not any(task.samples.missing for task in tasks.values()),
        tasks=tasks,
        groups=with_own_rules(together, toolkits) if toolkits else together,
        timing=_old_timing(folder, manifest.run) if timing is None else dict(timing),
        usage=usage.report(Prices.of(manifest.config.get("model_args"))),
        layout=_layout(manifest),
        judge=JudgeResults(verdicts.judge.model, verdicts.usage()) if verdicts.judge else None,
        changed=list(changed),
    )
    results.save((into or folder).results)
    return results


def mark_incomplete(folder: RunFolder) -> None:
    """More is asked than the results of an earlier attempt hold: however this one ends, they don't say "complete"."""
    with suppress(ConfigurationError):
        earlier = Results.load(folder.results)
        if earlier.complete:
            replace(earlier, complete=False).save(folder.results)


def _score_task(
    planned: PlannedTask,
    journal: JournalReader,
    table: SampleTable,
    usage: UsageTotals,
    verdicts: VerdictBook,
) -> TaskResults:
    clusters = Clusters(planned.compact, planned.task.cluster)
    scores = TaskScores(
        planned.task, planned.compact, repeats=planned.repeats, verdicts=verdicts, clusters=clusters
    )
    cluster_of = clusters.names()
    asked = len(planned.samples) * planned.repeats
    with phase(f"scoring {planned.task.name}", "answers", asked), watching():
        answers = counted(with_corpus_scores(scores.task, _answers(scores.task, planned, journal, verdicts)))
        while some := list(islice(answers, _WRITTEN)):
            table.add(some, [cluster_of(answer.sample) for answer in some])
            for answer in some:
                scores.add(answer)
                if answer.record is not None and answer.record.completion.succeeded:
                    usage.add(answer.record.completion.usage)
    with phase(f"intervals and categories of {planned.task.name}"):
        return scores.results()


def _answers(
    task: Task, planned: PlannedTask, journal: JournalReader, verdicts: VerdictBook
) -> Iterator[Answer]:
    """What became of each request, in the order of `PlannedTask.keys`."""
    asked = ((sample, repeat) for sample in planned.samples for repeat in range(planned.repeats))
    while some := list(islice(asked, _LOOKED_UP)):
        keys = [(task.name, sample.id, repeat) for sample, repeat in some]
        for (sample, repeat), record in zip(some, journal.get_all(keys), strict=True):
            yield score_record(task, sample, repeat, record, verdicts)


def score_while_asking(folder: RunFolder, planned: Sequence[PlannedTask], verdicts: VerdictBook) -> None:
    """Score the tasks whose own code asks the judge while it scores, as long as there is one; they keep the scores."""
    toolkits = [each for each in planned if isinstance(each.task.metric, WholeTaskMetric)]
    answered_by([each.task for each in toolkits], verdicts)
    with JournalReader(folder.journal) as journal:
        for each in toolkits:
            _score_names(each, each.task.metric, journal, verdicts)


def _score_names(
    planned: PlannedTask, metric: Metric, journal: JournalReader, verdicts: VerdictBook
) -> list[str]:
    """The names of a metric's scores, which all answers share: read off the first that can be scored."""
    if isinstance(metric, WholeTaskMetric):
        alone = replace(planned.task, metric=metric, also=())
        return names_of_all(metric, _answers(alone, planned, journal, verdicts))
    if isinstance(metric, CorpusMetric):
        return list(metric.info.means.values())
    alone = replace(planned.task, metric=metric, also=())
    for sample in planned.samples:
        for repeat in range(planned.repeats):
            key = RequestKey(planned.task.name, sample.id, repeat)
            record = journal.get(key) if journal.succeeded(key) else None
            if record is not None:
                answer = score_record(alone, sample, repeat, record, verdicts)
                if names := list(scores_of(answer.outcome)):
                    return names
    return []


def _kept_verdicts(folder: RunFolder, manifest: Manifest) -> VerdictBook:
    """Those of the judge that was asked last; its prices are known where it is the run's own."""
    book = VerdictBook.load(folder.verdicts)
    if book.judge is not None and book.judge.model == manifest.config.get("judge"):
        book.prices = Prices.of(manifest.config.get("judge_args"))
    return book


def _layout(manifest: Manifest) -> Layout | None:
    if not manifest.attempts:
        return None
    last = manifest.attempts[-1]
    notes = next((each.notes for each in reversed(manifest.attempts) if each.notes is not None), {})
    return Layout(last.engine, last.world_size, last.gpus_per_replica, last.parallelism, notes)


def _old_timing(folder: RunFolder, run: str) -> dict[str, float | None]:
    try:
        old = Results.load(folder.results)
    except ConfigurationError:
        return {}
    return old.timing if old.run == run else {}
