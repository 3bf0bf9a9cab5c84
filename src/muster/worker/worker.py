"""The worker: loads one replica and answers what it claims, until the run is over.

`python -m muster.worker.worker` is how engines start one: it reads a `Start` as one line of JSON from its
standard input, and ends when that input does, so that no worker outlives the process that started it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec

from muster.core import (
    BrokenContractError,
    ConfigurationError,
    Failure,
    LostMemberError,
    MusterError,
    ReplicaError,
    RequestError,
    start_up,
)
from muster.core.cache_folder import cache_folder
from muster.core.foreign_code import ForeignCode
from muster.machine import rendezvous
from muster.machine.ranks import read_ranks
from muster.models.protocol import Model, ModelSettings
from muster.wire.messages import Broken, Collect, Ready, Stop
from muster.wire.probes import sees
from muster.wire.worker_pipe import CoordinatorFound, Report, Reporter, RunOver
from muster.worker.draining import Drain, StoppedWhileLoading
from muster.worker.gather import Answered, gather_answers
from muster.worker.joining import NotJoinedError, Start, link_to, reach
from muster.worker.link import LostCoordinatorError, RunOverError, SocketLink
from muster.worker.stream import ClaimedRequests

log = logging.getLogger(__name__)

EXIT_BROKEN = 70
"""Exit status of a worker whose replica failed; the reason went to the coordinator."""
EXIT_UNLOADABLE = 71
"""The same where another start would fail like this one."""
EXIT_ALONE = 1
"""Exit status of a worker that finds no coordinator, or has lost it."""
_LAST_WORDS_SECONDS = 10.0
"""What the last lines of a log need to reach the coordinator."""
OVER_SECONDS = 10.0
"""How long a worker may go on with what nobody wants any more."""
_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the system sends when the parent ends."""


def run_worker(start: Start) -> int:
    """Join the run, work, and return the exit status."""
    try:
        return _join_and_work(start, lambda _stop: None)
    except NotJoinedError as error:
        return _alone(start, error)


def _alone(start: Start, error: NotJoinedError) -> int:
    sys.stderr.write(f"{start.name}: cannot reach the coordinator: {error}\n")
    return EXIT_ALONE


def _join_and_work(start: Start, on_stop: Callable[[Stop], None]) -> int:
    """As `run_worker`; `on_stop` hears what the coordinator says of the end. Raises `NotJoinedError`.

    When that is said the whole process ends within `OVER_SECONDS`, unless this returns before.
    """
    ends: list[threading.Timer] = []

    def obey(stop: Stop, lost: bool) -> None:
        if not lost:
            on_stop(stop)
        _obey(stop, link)
        if stop.how == "over":
            ends.append(_end_soon(EXIT_ALONE if lost else 0))

    try:
        link = link_to(start, obey)
    except RunOverError as error:
        on_stop(Stop("over", str(error)))
        sys.stderr.write(f"{start.name}: {error}\n")
        return 0
    except (OSError, MusterError) as error:
        raise NotJoinedError(str(error)) from error
    handler = _LinkLog(link) if start.ship_logs else logging.NullHandler()
    logging.getLogger().addHandler(handler)
    logging.getLogger("muster").setLevel(logging.INFO)
    # Ctrl-C reaches the ranks of a launcher; children that an engine started leave it to their coordinator.
    drain = Drain(link)
    drain.on([signal.SIGTERM, signal.SIGINT] if start.ship_logs else [signal.SIGTERM])
    try:
        status = _serve(link, start, drain)
        return 128 + drain.received[0] if drain.received and status == 0 else status
    except LostCoordinatorError as error:
        sys.stderr.write(f"{start.name}: {error}\n")
        return EXIT_ALONE
    finally:
        for sure_end in ends:
            sure_end.cancel()
        logging.getLogger().removeHandler(handler)


def _serve(link: SocketLink, start: Start, drain: Drain) -> int:
    # A machine that joined reads what its own user says, not what the run names.
    within = (str(cache_folder() / "packs"),) if start.machine_id else None
    stream, name = ClaimedRequests(link, within=within), start.name
    started = time.monotonic()
    loading = True
    try:
        with drain.loading():
            backend, settings = start.backend or link.welcome.backend, start.settings or link.welcome.settings
            with ForeignCode():
                model = load_model(backend, settings)
                slots, batched = capacity(model)
        start_up.done()
        ready = Ready(
            slots,
            batched,
            load_seconds=time.monotonic() - started,
            sees_media=sees(link.welcome.probes, within),
            videos=video_form(model),
            notes=notes_of(model),
        )
        link.ready(ready, lambda: stream.busy_seconds)
        loading = False
        log.info("%s is ready after %.1f s", name, ready.load_seconds)
        log_notes(ready.notes)
        _answer(stream, model)
        while link.gathering and _collect(link, start.secret):
            stream.finished = False
            _answer(stream, model)
    except LostCoordinatorError:
        raise
    except StoppedWhileLoading:
        log.warning("%s leaves before its model was loaded", name)
    except Exception as error:  # noqa: BLE001  whatever a backend raises breaks the replica, and is told
        log.error("%s broke:\n%s", name, traceback.format_exc())
        failure, lasting = Failure.from_exception(error), loading and not isinstance(error, LostMemberError)
        if isinstance(error, MusterError | RequestError):
            failure = replace(failure, traceback=None)  # its words say enough
        configuration, for_good = (
            isinstance(error, ConfigurationError),
            isinstance(error, BrokenContractError),
        )
        link.broken(Broken(failure, "loading" if lasting else "work", configuration, for_good))
        return EXIT_UNLOADABLE if lasting else EXIT_BROKEN
    link.leave()
    return 0


def _answer(stream: ClaimedRequests, model: Model) -> None:
    with ForeignCode():
        stream.answers_from(model.generate)


def _collect(link: SocketLink, secret: str) -> bool:
    """Bring in the answers that are kept, as the coordinator says; True when there is work again."""
    while (task := link.next_collect()) is not None:
        if task.how == "work":
            return True
        answers = link.kept()
        if task.how == "group":
            answers = _gathered(link, task, answers, secret)
        link.send_answers(answers)
    return False


def _gathered(link: SocketLink, task: Collect, answers: Answered, secret: str) -> Answered:
    """All answers on the first worker of the group, none on the others; one's own where the group fails."""
    ranks = read_ranks()
    assert ranks is not None  # only a launcher's ranks gather
    try:
        parts = gather_answers(
            answers,
            ranks,
            secret,
            position=task.position,
            size=task.size,
            backend=link.welcome.process_group,
            timeout=link.welcome.group_seconds,
        )
    except RuntimeError as error:
        log.warning("the gather failed (%s); sending the answers to the coordinator instead", error)
        return answers
    return [answer for part in parts for answer in part]


def load_model(backend: str, settings: bytes | msgspec.Raw | ModelSettings) -> Model:
    """Load a replica.

    Raises:
        ConfigurationError: no such backend, or it is not a `Model`. What the backend raises passes through.
    """
    from muster.models.registry import load_backend

    if not isinstance(settings, ModelSettings):
        settings = msgspec.msgpack.decode(settings, type=ModelSettings)
    model = load_backend(backend)(settings)
    if not isinstance(model, Model):
        raise ReplicaError(f"backend {backend!r} has no generate(requests) method")
    return model


def capacity(model: Model) -> tuple[int, bool]:
    """The model's slots, and whether they are one static batch. Raises `ReplicaError` for less than one."""
    slots = int(getattr(model, "slots", 1))
    if slots < 1:
        raise ReplicaError(
            f"the backend says that it works on {slots} requests at a time: slots must be at least 1"
        )
    return slots, bool(getattr(model, "batched", False))


def video_form(model: Model) -> str:
    """How the model gets videos, where its backend says so."""
    return str(getattr(model, "videos", ""))


def notes_of(model: Model) -> dict[str, str]:
    """What the user should know of how it answers, where its backend says so."""
    return {str(name): str(note) for name, note in getattr(model, "notes", {}).items()}


def log_notes(notes: Mapping[str, str]) -> None:
    """Write them into the worker's log."""
    for name, note in notes.items():
        log.info("%s: %s", name, note)


class _LinkLog(logging.Handler):
    """Sends log lines to the coordinator, which alone writes the run folder."""

    def __init__(self, link: SocketLink) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, unless it is about sending."""
        if not record.name.startswith("muster.worker.link"):
            self._link.log(self.format(record) + "\n")


def _obey(stop: Stop, link: SocketLink) -> None:
    """What the link's thread does about `Stop`, whatever the main thread is stuck in."""
    if stop.how in ("dump", "abort"):
        frames = sys._current_frames()[threading.main_thread().ident or 0]
        log.warning("%s; the stack:\n%s", stop.reason, "".join(traceback.format_stack(frames)))
    else:
        log.info("%s", stop.reason)
    if stop.how == "abort":
        link.until_sent(_LAST_WORDS_SECONDS)
        os.abort()


def _end_soon(status: int) -> threading.Timer:
    """End the process in `OVER_SECONDS`, whatever it is stuck in by then."""
    sure_end = threading.Timer(OVER_SECONDS, os._exit, [status])
    sure_end.daemon = True
    sure_end.start()
    return sure_end


def _end_with_parent(wait_for_end: Callable[[], object]) -> None:
    if (
        sys.platform == "linux"
    ):  # also where this process is stopped, or stuck in a call that keeps the interpreter
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        wait_for_end()
        os._exit(1)

    threading.Thread(target=watch, name="muster-parent-watch", daemon=True).start()


def main() -> None:
    """The child process of an engine."""
    start_up.begin()
    faulthandler.enable()  # SIGABRT writes every thread's stack to the worker's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    start = msgspec.json.decode(sys.stdin.buffer.readline(), type=Start)
    if start.ship_logs:  # they stand in the run's logs; here there is a user's terminal
        for handler in logging.getLogger().handlers:
            handler.setLevel(logging.WARNING)
    _end_with_parent(sys.stdin.buffer.read)
    reporter = Reporter(start.reports) if start.reports is not None else None
    status = EXIT_ALONE
    try:
        status = _work(start, reporter)
    except Exception:
        log.exception("%s can't go on", start.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # a library's threads must not hold up a finished run


def _work(start: Start, reporter: Reporter | None) -> int:
    """Find the coordinator, or tell the others where it is, and work; returns the exit status."""
    tell: Callable[[Report], None] = reporter.tell if reporter is not None else lambda _report: None
    ranks = read_ranks() if start.publish or not start.addresses else None
    if ranks is not None and start.publish:
        meeting = rendezvous.Meeting(start.publish, start.secret)
        try:
            rendezvous.publish(ranks, meeting, start.rendezvous_timeout)
        except MusterError as error:
            return _unmet(start, error)

    def pass_on(stop: Stop) -> None:
        if stop.how == "over":
            tell(RunOver(stop.missing))

    limit = time.monotonic() + start.rendezvous_timeout
    while True:
        if ranks is not None and not start.publish:
            try:
                meeting = rendezvous.join(ranks, max(0.0, limit - time.monotonic()), reach)
            except MusterError as error:
                sys.stderr.write(f"{error}\n")
                return EXIT_ALONE
            if meeting.state == "over":
                rendezvous.say_goodbye()
                tell(RunOver([]))
                sys.stderr.write(f"rank {ranks.rank}: rank 0 has ended, and left nothing to do\n")
                return 0
            start = replace(start, addresses=meeting.addresses, secret=meeting.secret)
        tell(CoordinatorFound(start.addresses, start.secret))
        try:
            return _join_and_work(start, pass_on)
        except NotJoinedError as error:
            # The others may have answered everything since it was found; then that is what is heard where it was.
            if ranks is None or start.publish or time.monotonic() > limit:
                return _alone(start, error)


def _unmet(start: Start, error: MusterError) -> int:
    """Tell the coordinator that the other ranks can't be told of it; returns the exit status."""
    sys.stderr.write(f"{error}\n")
    try:
        link = link_to(start, lambda _stop, _lost: None)
        link.broken(Broken(Failure.from_exception(error), "meeting"))
    except (OSError, MusterError):
        return EXIT_ALONE  # it has ended meanwhile
    return EXIT_UNLOADABLE


if __name__ == "__main__":
    main()
