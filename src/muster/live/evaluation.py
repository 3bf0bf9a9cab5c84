"""The story of a live evaluation, as every rank lives it."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

from torch._C._distributed_c10d import PrefixStore

from muster.attempt import attempt_of, begin, default_output
from muster.config import RunConfig, load_config
from muster.core import ConfigurationError, Failure, MusterError, RequestError
from muster.core.text import valid_text
from muster.engines.job import Job
from muster.engines.launcher import worker_name
from muster.judging.judge import judge_spec
from muster.judging.run_judge import judge_of_run
from muster.live.adapter import follower, leader, load_live
from muster.live.copies import Copy, check_copies, find_copy
from muster.live.engine import LiveEngine
from muster.live.in_step import InStep, follow
from muster.live.rank_group import Meeting, Outcome, RankGroup, store_reached
from muster.live.restored import restored
from muster.machine.ranks import host_name
from muster.models.protocol import Model, ModelSettings
from muster.models.transformers.interfaces import Processor
from muster.models.transformers.processor import check_processor
from muster.planning import plan
from muster.report.display import Silent
from muster.results.folder import RunFolder
from muster.results.results import Results
from muster.run import work
from muster.tasks.reach import check_reach
from muster.tasks.video_readiness import check_videos
from muster.wire.messages import Broken, Hello, Ready
from muster.wire.probes import sees
from muster.wire.transport import HandshakeError
from muster.worker.joining import NotJoinedError, connect_to_any
from muster.worker.link import RunOverError, SocketLink
from muster.worker.stream import ClaimedRequests
from muster.worker.worker import capacity, notes_of, video_form

OPTIONS = frozenset(
    {
        "output",
        "name",
        "data",
        "split",
        "prompt_variant",
        "generation_variant",
        "limit",
        "sample_ids",
        "schedule",
        "lengths_from",
        "batch_size",
    }
    | {"max_new_tokens", "temperature", "top_p", "seed", "repeats", "scoring", "thinking", "video", "image"}
    | {"judge", "judge_backend", "judge_args"}
    | {"worker_timeout", "request_timeout", "load_timeout", "rendezvous_timeout"}
)
"""Options of `muster run` that mean something for a model that is there already."""

_END_SECONDS = 30.0
"""How long an interrupted first rank waits for its coordinator to write down what there is."""


def evaluate_live(
    model: object,
    tasks: str | Sequence[str],
    processor: object | None,
    *,
    overwrite: bool,
    options: Mapping[str, object],
) -> Results:
    """Evaluate a model in this process, with all ranks of its process group where there is one.

    Returns:
        The results, on every rank.

    Raises:
        ConfigurationError: what was asked can't be done; on every rank.
        RunError: a rank failed, is gone or hangs; on every rank that doesn't hang.
    """
    if processor is None:
        raise ConfigurationError("muster.evaluate: a live model needs its processor too: processor=…")
    check_processor(processor, "processor=…")
    if unknown := sorted(options.keys() - OPTIONS):
        raise ConfigurationError(
            f"muster.evaluate: {', '.join(unknown)} can't be given with a live model; what can: "
            f"{', '.join(sorted(OPTIONS))}, overwrite"
        )
    known = cast("Processor", processor)
    rank_group = RankGroup.of_this_job()
    held = find_copy(model, rank_group.rank)
    config = load_config({**options, "model": _name(held), "tasks": tasks, "backend": "live"})
    with restored(held.model), store_reached():
        rank_group.arrive(held.ranks)
        if rank_group.rank != 0:
            return _take_part(rank_group, held, known, config)
        with _Coordination(rank_group, held, config, overwrite=overwrite):
            return _take_part(rank_group, held, known, config)


def _take_part(rank_group: RankGroup, held: Copy, processor: Processor, config: RunConfig) -> Results:
    """One rank's part, and then everybody's outcome."""
    try:
        _work_or_follow(rank_group, held, processor, config)
    except Exception as error:
        rank_group.fail(_failed(rank_group.rank, error))
        outcome = rank_group.outcome(config.load_timeout)
        if outcome.results is None:
            raise outcome.as_error() from error
        raise
    except BaseException as error:  # Ctrl-C, or whatever the job's own signal handlers raise
        rank_group.fail(_failed(rank_group.rank, error))
        rank_group.leave()
        raise
    return rank_group.outcome(config.load_timeout).given()


def _failed(rank: int, error: BaseException) -> str:
    """Why a rank can't go on, for all the others."""
    if isinstance(error, MusterError | RequestError):
        return valid_text(f"rank {rank} failed: {error}")
    if not isinstance(error, Exception):
        return f"rank {rank} was interrupted ({type(error).__name__})"
    return valid_text(f"rank {rank} failed: {type(error).__name__}: {error}")


def _work_or_follow(rank_group: RankGroup, held: Copy, processor: Processor, config: RunConfig) -> None:
    meeting = rank_group.meeting(config.rendezvous_timeout, config.load_timeout)
    if meeting is None:
        return
    group = _meet_copy(rank_group, held, config)
    try:
        if group is not None and group.position > 0:
            follow(follower(load_live(held, processor), group), group)
            return
        try:
            with _link(rank_group, meeting) as link:
                model = leader(load_live(held, processor), config.batch_size, group)
                _answer(link, model)
        except NotJoinedError:  # before this copy was there the others may have answered all
            if not rank_group.has_results(config.load_timeout):
                raise
        if group is not None:
            group.order(None)
    finally:
        if group is not None:
            group.close()


def _meet_copy(rank_group: RankGroup, held: Copy, config: RunConfig) -> InStep | None:
    """The group of the ranks that hold this copy together, if there are several."""
    if len(held.ranks) == 1:
        return None
    machines = {rank_group.arrival(rank).machine for rank in held.ranks}
    return InStep(
        PrefixStore(f"copy/{held.ranks[0]}", rank_group.store),
        held.ranks.index(rank_group.rank),
        len(held.ranks),
        on_one_machine=len(machines) == 1,
        timeout=config.request_timeout,
        over=lambda: rank_group.over,
    )


@contextmanager
def _link(rank_group: RankGroup, meeting: Meeting) -> Iterator[SocketLink]:
    """The way to the coordinator, which hears how the context ended. Raises `NotJoinedError` where there is none."""
    secret = bytes.fromhex(meeting.secret)
    replica = meeting.leading.index(rank_group.rank)
    hello = Hello(worker_name(rank_group.rank), replica, host_name(), os.getpid())
    try:
        link = SocketLink(lambda: connect_to_any(meeting.addresses, secret), hello, lambda _stop, _lost: None)
    except (OSError, HandshakeError, RunOverError) as error:
        raise NotJoinedError(f"rank {rank_group.rank} cannot reach the coordinator: {error}") from error
    try:
        yield link
    except BaseException as error:
        link.drain()  # a thread that prepares batches may be waiting for more
        # In the words in which the group is told: whichever comes first is raised on all ranks.
        said = replace(Failure.from_exception(error), message=_failed(rank_group.rank, error))
        link.broken(Broken(said, "work"))
        raise
    link.leave()


def _answer(link: SocketLink, model: Model) -> None:
    """Work as `distributed.worker` does, but in a process that is not ours to end."""
    stream = ClaimedRequests(link)
    ready = Ready(
        *capacity(model),
        load_seconds=0.0,
        sees_media=sees(link.welcome.probes),
        videos=video_form(model),
        notes=notes_of(model),
    )
    link.ready(ready, lambda: stream.busy_seconds)
    stream.answers_from(model.generate)


class _Coordination:
    """The first rank's second part: a thread that plans, gives out the work, keeps the answers and scores them.

    In a thread, because the rank's own thread works, and because a thread other than the main one leaves signals to the
    training job. Whatever comes of it is told to all ranks.
    """

    def __init__(self, rank_group: RankGroup, held: Copy, config: RunConfig, *, overwrite: bool) -> None:
        self._rank_group, self._held, self._config, self._overwrite = rank_group, held, config, overwrite
        self._thread = threading.Thread(target=self._run, name="muster-coordinator", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        self._thread.join(_END_SECONDS if interrupted else None)

    def _run(self) -> None:
        try:
            outcome = Outcome(self._coordinate())
        except BaseException as error:  # noqa: BLE001  raised again by every rank
            outcome = Outcome.of_error(error)
        self._rank_group.close(outcome)
        self._rank_group.announce_end()

    def _coordinate(self) -> Results:
        started = time.monotonic()
        config = self._config
        spec = judge_spec(
            config.judge, config.judge_backend, config.judge_args, request_timeout=config.request_timeout
        )
        arrivals = self._rank_group.gather(config.rendezvous_timeout)
        leading = check_copies(arrivals)
        planned = plan(config, lambda: getattr(self._held.model.config, "model_type", None))
        check_reach(planned)
        check_videos(planned, config.model_args)
        folder = RunFolder(config.output or _unused(default_output(config)))
        with folder.lock():
            _make_room(folder, overwrite=self._overwrite)
            engine = LiveEngine(self._rank_group, arrivals, leading)
            settings = ModelSettings(
                config.model,
                batch_size=config.batch_size,
                gpus_per_replica=len(self._held.ranks),
                parallelism="tensor" if len(self._held.ranks) > 1 else "device-map",
            )
            # In place of files' digests: nothing cheap tells the weights of one step from those of the next.
            identity = {"live": type(self._held.model).__name__}
            manifest = begin(folder, config, settings, planned, engine, len(leading), identity)
            job = Job(
                backend=config.backend,
                settings=settings,
                folder=folder,
                replicas=len(leading),
                worker_timeout=config.worker_timeout,
                request_timeout=config.request_timeout,
                rendezvous_timeout=config.rendezvous_timeout,
            )
            display = Silent()
            with attempt_of(folder, manifest) as findings:
                judge = judge_of_run(spec, folder, manifest.run, planned, config.load_timeout, display.say)
                with judge:
                    return work(config, engine, job, manifest, planned, display, started, findings, judge)


def _name(held: Copy) -> str:
    """What the model is called: where it was loaded from, or its class."""
    loaded_from = str(getattr(held.model.config, "_name_or_path", "") or "")
    name = re.sub(r"[^\w.-]+", "-", Path(loaded_from).name)
    return f"live:{name or type(held.model).__name__}"


def _unused(root: Path) -> Path:
    """This folder's name, with a number where there is such a folder: several evaluations may begin in one second."""
    names = [root, *(root.with_name(f"{root.name}-{number}") for number in range(2, 1000))]
    return next(name for name in names if not name.exists())


def _make_room(folder: RunFolder, *, overwrite: bool) -> None:
    """Raise `ConfigurationError` where there is a run already, or remove it."""
    if not folder.manifest.exists():
        return
    if not overwrite:
        raise ConfigurationError(
            f"{folder.root} holds a run already, and a live model's run can't go on there: its weights may have "
            'changed since. Give each evaluation a folder of its own (output=f"evals/step-{step}"), or replace what '
            "is there (overwrite=True)"
        )
    folder.clear()
