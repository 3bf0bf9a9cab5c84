"""The run folder: every path in it, and the lock that keeps it to one run at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from muster.core import ConfigurationError, RunError
from muster.core.regular_files import regular
from muster.results.files import write_json

_WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
LOCK_WAIT_S = 1.0
"""Long enough that somebody who only looks whether the folder is locked doesn't stop a run from starting."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the folder."""

    pid: int
    host: str
    since: float
    """Unix seconds."""

    def __str__(self) -> str:
        """`process 12 on node7, since 2026-11-21 10:00:00`."""
        since = datetime.fromtimestamp(self.since).astimezone()
        return f"process {self.pid} on {self.host}, since {since:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run. Only the coordinator writes here."""

    root: Path

    @property
    def manifest(self) -> Path:
        """What was asked."""
        return self.root / "manifest.json"

    @property
    def journal(self) -> Path:
        """What came back, one line per completion."""
        return self.root / "journal.jsonl"

    @property
    def rounds(self) -> Path:
        """The answers of single rounds, of samples that are asked in rounds; in the journal's format."""
        return self.root / "rounds.jsonl"

    @property
    def verdicts(self) -> Path:
        """What judges said about the answers, one line per verdict."""
        return self.root / "verdicts.jsonl"

    @property
    def results(self) -> Path:
        """The scores."""
        return self.root / "results.json"

    @property
    def samples(self) -> Path:
        """One row per sample and repeat."""
        return self.root / "samples.parquet"

    @property
    def progress(self) -> Path:
        """How far the run is, while it goes on; then how it was at the end."""
        return self.root / "progress.json"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.root / "report.html"

    @property
    def toolkit_files(self) -> Path:
        """The folder of what the code of other toolkits' tasks wrote: submissions for servers, details of scores."""
        return self.root / "toolkits"

    @property
    def export(self) -> Path:
        """The folder of what `muster export` wrote of the answers."""
        return self.root / "export"

    @property
    def logs(self) -> Path:
        """The folder of the workers' logs."""
        return self.root / "logs"

    @property
    def join_secret(self) -> Path:
        """The secret for joining the run, while it goes on; readable by its user alone."""
        return self.root / "join-secret"

    @property
    def slurm(self) -> Path:
        """The folder of what `muster slurm` submitted: batch script, record and the job's output."""
        return self.root / "slurm"

    @property
    def lock_file(self) -> Path:
        """Locked (flock) while a run works in the folder; that it exists means nothing."""
        return self.root / ".lock"

    @property
    def lock_holder(self) -> Path:
        """Who locked it."""
        return self.root / ".lock.json"

    @property
    def of_the_run(self) -> tuple[Path, ...]:
        """The files that are one run's, whoever works in the folder: all but the manifest, the logs and the locks."""
        return (
            self.results,
            self.samples,
            self.report,
            self.progress,
            self.join_secret,
            self.verdicts,
            self.rounds,
            self.journal,
        )

    def log(self, worker: str) -> Path:
        """The log file of one worker; different workers never share a file."""
        return self.logs / f"{_file_name(worker)}.log"

    def create(self) -> None:
        """Make the folder and its sub-folders where they are missing. Raises `ConfigurationError`."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot make the run folder {self.root}: {error.strerror or error}. "
                f"Choose another one with --output."
            ) from error

    def clear(self) -> None:
        """Remove a run: its manifest last, so that what is left of it is still known for one. Hold the lock.

        Raises `ConfigurationError` when that can't be done.
        """
        try:
            for path in (*self.logs.glob("*.log"), *self.of_the_run, self.manifest):
                path.unlink(missing_ok=True)
            for made in (self.toolkit_files, self.export):
                if made.is_dir():
                    shutil.rmtree(made)
        except OSError as error:
            raise ConfigurationError(
                f"cannot replace the run in {self.root}: {error.strerror or error}"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process. The system releases it when the process ends, however it ends.

        Raises `ConfigurationError` when another run holds it.
        """
        self.create()
        lock = FileLock(self.lock_file, thread_local=False)
        try:
            lock.acquire(timeout=LOCK_WAIT_S, poll_interval=0.05)
        except Timeout:
            raise ConfigurationError(
                f"another run is working in {self.root} ({self.holder() or 'it did not say who'}). "
                f"Wait for it, stop it, or choose another folder with --output."
            ) from None
        except (OSError, NotImplementedError) as error:
            raise _unlockable(self.root, error) from error
        try:
            write_json(self.lock_holder, LockHolder(os.getpid(), socket.gethostname(), time.time()))
            yield
        finally:
            self.lock_holder.unlink(missing_ok=True)
            lock.release()

    def is_locked(self) -> bool:
        """Whether a run works in the folder now."""
        if not self.lock_file.exists():
            return False
        probe = FileLock(self.lock_file, thread_local=False)
        try:
            probe.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # somebody else's folder, which we may only read: believe what its holder wrote
            return self.holder() is not None
        probe.release()
        return False

    def holder(self) -> LockHolder | None:
        """Who wrote the lock last and has not released it; may be a process that was killed."""
        try:
            return msgspec.json.decode(regular(self.lock_holder).read_bytes(), type=LockHolder)
        except (OSError, msgspec.DecodeError, RecursionError):
            return None


def _unlockable(root: Path, error: OSError | NotImplementedError) -> ConfigurationError | RunError:
    if isinstance(error, NotImplementedError) or error.errno in _WITHOUT_LOCKS:
        return ConfigurationError(
            f"cannot lock the run folder {root}: its file system has no locks (flock), and two runs in one folder "
            "would spoil each other's journal. Choose a folder elsewhere with --output, or have it mounted with locks"
        )
    return RunError(f"cannot lock the run folder {root}: {error.strerror or error}")


def _file_name(name: str) -> str:
    """`name` as a file name on any system; what had to be changed gets a digest, so names stay distinct."""
    safe = re.sub(r"[^A-Za-z0-9._@-]+", "_", name)[:80].strip(".")
    if safe == name and safe:
        return safe
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{safe or 'worker'}-{digest}"
