"""The story of a run: plan, resume, work, score."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial

from muster.attempt import (
    Findings,
    RunLimit,
    attempt_of,
    begin,
    default_output,
    ended_by_nobody_else,
    how_to_go_on,
)
from muster.config import RunConfig
from muster.coordinator.coordinator import Coordinator, RecordSink
from muster.coordinator.progress import Progress, TaskProgress
from muster.coordinator.rounds import kept_rounds
from muster.coordinator.snapshot import snapshot_of
from muster.coordinator.workload import Workload
from muster.core import ConfigurationError, RequestKey
from muster.core.interruption import check, interruptible
from muster.core.phases import advance, phase, shown_by
from muster.engines.choose import choose_engine
from muster.engines.job import Engine, Job, Listening
from muster.engines.placement import Shape
from muster.judging.judge import judge_spec
from muster.judging.run_judge import RunJudge, judge_of_run
from muster.models.protocol import ModelKind, ModelSettings
from muster.models.registry import check_settings, load_backend, model_kind, resolve_model, served_by
from muster.planning import check_likelihoods, groups_of, plan
from muster.report.display import Display
from muster.report.events import Both, EventFile
from muster.results.data_faults import record_faults
from muster.results.folder import RunFolder
from muster.results.journal import Journal
from muster.results.journal_lines import Entry, interned
from muster.results.journal_read import JournalReader, read_entries
from muster.results.logs import bound_logs
from muster.results.manifest import Manifest, check_covered
from muster.results.results import Results
from muster.results.scoring import mark_incomplete, score_run
from muster.results.scoring_limits import handled
from muster.results.snapshot import Snapshot, SnapshotFile
from muster.scheduling.cost import TokenHistory
from muster.scheduling.queue import WorkQueue
from muster.sinks.registry import parse_sinks
from muster.sinks.sending import send_apart
from muster.tasks.plan import PlannedTask
from muster.tasks.reach import check_reach
from muster.tasks.video_readiness import check_videos
from muster.wire.join_secret import given_secret


def run(config: RunConfig, display: Display, last: ExitStack | None = None) -> Results:
    """Evaluate in this process, which owns the run: alone, with workers that it starts, or as rank 0 of many.

    `last` gets what remains to be done when the results, or the error, have been shown, because other ranks may take
    a while to end; without it that is done here.

    Raises:
        MusterError: with the exit code that its class says; the journal is complete up to then.
    """
    if last is None:
        with ExitStack() as last:
            return run(config, display, last)
    folder = RunFolder(config.output or default_output(config))
    with ExitStack() as shown:
        if config.events is not None:
            events = shown.enter_context(EventFile(config.events))
            finished = shown.enter_context(events.run(config, folder.root))
            display = Both(display, events)
        shown.enter_context(shown_by(display.phase))
        sinks = parse_sinks(config.sink)
        results = _run(config, folder, display, last)
        if sinks:
            last.callback(send_apart, folder, sinks, config.sink_step or 0, display.announce)
        if config.events is not None:
            finished(results)
        return results


def _run(config: RunConfig, folder: RunFolder, display: Display, last: ExitStack) -> Results:
    started = time.monotonic()
    limit = RunLimit(config.run_timeout)
    with limit.explained(), limit, interruptible(), ended_by_nobody_else():
        engine, replicas, shape = choose_engine(config)
        with _closed_by(last, engine), limit.explained():
            backend = load_backend(config.backend)
            settings = model_settings(config, model_kind(backend), shape)
            check_settings(backend, settings)
            servers = served_by(backend, settings.args)
            judge = judge_spec(
                config.judge,
                config.judge_backend,
                config.judge_args,
                request_timeout=config.request_timeout,
            )
            planned = plan(config)
            check_likelihoods(
                planned, backend, config.backend, divided=shape.gpus > 1 and shape.parallelism == "tensor"
            )
            if config.backend != "replay":
                check_reach(planned)
                check_videos(planned, config.model_args)
            secret = given_secret(config.secret_file) if config.listen is not None else None
            with folder.lock():
                manifest = begin(folder, config, settings, planned, engine, replicas, servers)
                job = _job(config, settings, folder, replicas, manifest, display, secret)
                with (
                    attempt_of(folder, manifest) as findings,
                    limit.explained(),
                    ended_by_nobody_else(),
                    judge_of_run(
                        judge, folder, manifest.run, planned, config.load_timeout, display.say
                    ) as judging,
                ):
                    return work(config, engine, job, manifest, planned, display, started, findings, judging)


@contextmanager
def _closed_by(last: ExitStack, engine: Engine) -> Iterator[None]:
    """Have the engine closed at the very end, with what became of this context."""
    try:
        yield
    except BaseException as error:
        last.callback(engine.close, error)
        raise
    last.callback(engine.close, None)


def work(
    config: RunConfig,
    engine: Engine,
    job: Job,
    manifest: Manifest,
    planned: list[PlannedTask],
    display: Display,
    started: float,
    findings: Findings,
    judge: RunJudge,
) -> Results:
    """One attempt: what the journal lacks is answered, then everything is scored.

    Raises `MusterError`s as `run` does.
    """
    folder = job.folder
    earlier = EarlierAnswers()
    with phase("reading the journal", "records"):
        journal = Journal.open(folder.journal, manifest.run, earlier.note)
    in_rounds = any(each.task.rounds is not None for each in planned)
    with journal, Journal.open(folder.rounds, manifest.run) if in_rounds else nullcontext() as rounds:
        workload = _what_is_left(config, folder, planned, journal, earlier, display, len(manifest.attempts))
        if len(workload):
            mark_incomplete(folder)
        asked = replace(
            job.settings,
            most_images=None if in_rounds else workload.most_images,
            most_videos=None if in_rounds else workload.most_videos,
            resumed=bool(earlier.done),
        )
        job = replace(job, settings=asked)
        sink = judge.follow(journal)

        attempt = len(manifest.attempts)
        coordinator = _coordinator(config, workload, sink, rounds, job.replicas, attempt=attempt)

        def look() -> Snapshot:
            return snapshot_of(coordinator.progress, time.monotonic(), time.time(), attempt)

        snapshots = SnapshotFile(folder.progress, look)

        def sync() -> None:
            sink.sync()
            if rounds is not None:
                rounds.sync()
            bound_logs(folder)
            snapshots.keep_up()

        with how_to_go_on(folder, coordinator.progress):
            to_show = len(workload) or judge.book is not None
            with display.show(look) if to_show else nullcontext():
                if len(workload):
                    try:
                        with handled():
                            engine.execute(coordinator, job, sync)
                    finally:
                        snapshots.save()
                        findings.videos = coordinator.videos
                        if coordinator.progress.ready_at is not None:
                            findings.notes = coordinator.progress.notes
                    check()
                sink.sync()
                engine.announce_end()  # the judge may take longer than the model
                ended = time.monotonic()
                judge.finish(coordinator.progress)
            timing = timing_of(coordinator, started, ended, time.monotonic()) if len(workload) else None
            check()
            results = score_run(
                folder,
                planned,
                manifest=manifest.with_found(findings.videos, findings.notes),
                timing=timing,
                groups=groups_of(planned),
                verdicts=judge.book,
            )
            findings.exit_status = results.exit_status(config.max_failures)
            return results


def _what_is_left(
    config: RunConfig,
    folder: RunFolder,
    planned: list[PlannedTask],
    journal: Journal,
    earlier: EarlierAnswers,
    display: Display,
    attempt: int,
) -> Workload:
    """The requests that the journal has no answer to, but for those that the data itself makes impossible."""
    if not journal.recovery.clean:
        display.say(f"journal: {journal.recovery}")
    done = earlier.done
    check_covered(done, planned)
    spoilt = record_faults(journal, planned, done, attempt)
    _learn_lengths(earlier.lengths, map(RunFolder, config.lengths_from))
    asked = sum(len(each.samples) * each.repeats for each in planned)
    with (
        phase("putting the requests in order", "requests", asked),
        JournalReader(folder.journal)
        if done and any(each.has_dialogues for each in planned)
        else nullcontext() as answers,
        JournalReader(folder.rounds) as rounds,
    ):
        workload = Workload(
            planned,
            done | spoilt if spoilt else done,
            earlier.lengths,
            answers.answer if answers else None,
            partial(kept_rounds, rounds),
        )
    if done:
        display.say(f"resuming {folder.root}: {len(done)} answers are there, {len(workload)} to go")
    return workload


def _coordinator(
    config: RunConfig,
    workload: Workload,
    journal: RecordSink,
    rounds: RecordSink | None,
    replicas: int,
    *,
    attempt: int,
) -> Coordinator:
    coordinator = Coordinator(
        workload,
        WorkQueue(workload.items, schedule=config.schedule, replicas=max(1, replicas)),
        journal,
        _progress(workload),
        attempt=attempt,
        worker_timeout=config.worker_timeout,
        request_timeout=config.request_timeout,
        load_timeout=config.load_timeout,
        epoch=time.time() - time.monotonic(),
        rounds=rounds,
    )
    if replicas == 0:  # all will join
        coordinator.forget_absent()
    return coordinator


def model_settings(config: RunConfig, kind: ModelKind, shape: Shape) -> ModelSettings:
    """What the backend's constructor gets. Raises `ConfigurationError` for a folder that holds no model."""
    return ModelSettings(
        model=resolve_model(config.model, kind),
        args=config.model_args,
        batch_size=config.batch_size,
        max_in_flight=config.max_in_flight,
        seed=config.seed or 0,
        trust_remote_code=config.trust_remote_code,
        request_timeout=config.request_timeout,
        gpus_per_replica=shape.gpus,
        parallelism=shape.parallelism,
    )


def _progress(workload: Workload) -> Progress:
    tasks = []
    planned = workload.planned
    left = [0] * len(planned)
    for index in range(len(workload)):
        left[workload.task(index)] += 1
    for task, remaining in zip(planned, left, strict=True):
        info = task.task.metric.info
        total = len(task.samples) * task.repeats
        shown = info.means.get(info.primary) or next(iter(info.means.values()), "")
        tasks.append(TaskProgress(task.task.name, total, done=total - remaining, shown_score=shown))
    return Progress(
        tasks,
        key_of=workload.key,
        cost_of=workload.items.costs.__getitem__,
        cost_left=sum(workload.items.costs),
    )


class EarlierAnswers:
    """What the journal of a run that goes on already holds."""

    def __init__(self) -> None:
        self.done: set[RequestKey] = set()
        """The requests that have an answer."""
        self.lengths = TokenHistory()
        """What the longest-first order goes by."""

    def note(self, entry: Entry) -> None:
        """Take the next record."""
        if entry.completion.failure is None:
            key = interned(entry.completion.key)
            self.done.add(key)
            self.lengths.learn(key, entry.completion.usage.completion_tokens)
        advance()


def _learn_lengths(lengths: TokenHistory, runs: Iterable[RunFolder]) -> None:
    """Add how long the answers of other runs were."""
    for run in runs:
        if not run.journal.exists():
            raise ConfigurationError(f"--lengths-from {run.root}: there is no run (no {run.journal.name})")
        for entry in read_entries(run.journal):
            if entry.completion.failure is None:
                lengths.learn(entry.completion.key, entry.completion.usage.completion_tokens)


def _job(
    config: RunConfig,
    settings: ModelSettings,
    folder: RunFolder,
    replicas: int,
    manifest: Manifest,
    display: Display,
    secret: str | None,
) -> Job:
    return Job(
        backend=config.backend,
        settings=settings,
        folder=folder,
        replicas=replicas,
        gpus_each=settings.gpus_per_replica
        if config.gpus_per_replica or settings.gpus_per_replica > 1
        else None,
        collect=config.collect,
        process_group=config.dist_backend,
        worker_timeout=config.worker_timeout,
        request_timeout=config.request_timeout,
        rendezvous_timeout=config.rendezvous_timeout,
        listening=_listening(config, manifest, secret),
        say=display.announce,
    )


def _listening(config: RunConfig, manifest: Manifest, secret: str | None) -> Listening | None:
    if config.listen is None:
        return None
    return Listening(config.listen, manifest.run, config.model, manifest.fingerprint, secret)


def timing_of(
    coordinator: Coordinator, started: float, ended: float, judged: float | None = None
) -> Mapping[str, float]:
    """The `timing` of results.json, of this attempt. Rates count from the first replica's readiness.

    `started`, `ended` (the model's work) and `judged` (its judge's) are of the coordinator's clock (seconds).
    """
    ready = [worker for worker in coordinator.workers.values() if worker.ready_at is not None]
    first = min((worker.ready_at for worker in ready if worker.ready_at), default=ended)
    seconds = max(ended - first, 1e-9)
    answered = sum(worker.answered for worker in ready)
    present = sum(
        (ended if worker.alive else worker.seen) - worker.ready_at for worker in ready if worker.ready_at
    )
    return {
        "wall_s": (judged or ended) - started,
        "model_load_s": max((worker.load_seconds for worker in ready), default=0.0),
        "samples_per_s": answered / seconds,
        "tokens_per_s": coordinator.progress.tokens / seconds,
        "parallel_efficiency": min(1.0, sum(w.busy_seconds for w in ready) / present) if present > 0 else 0.0,
    }
