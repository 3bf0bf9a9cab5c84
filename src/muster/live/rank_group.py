"""The ranks that evaluate together, and what they tell each other through the store of the training job.

A store and not a process group: nothing of the job's own communication is used or half done when something fails, and
every wait can be ended by a signal. Keys belong to one call of `evaluate` and to one attempt of the launcher.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import msgspec

from muster.core import ConfigurationError, MusterError, RunError
from muster.machine.ranks import host_name, read_ranks
from muster.results.results import Results

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
"""Seconds between two looks into the store; thousands of ranks may look."""
_READ_SECONDS = 10.0
"""How long the first rank stays for the others to read the outcome: it may be the store's host."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a rank says of itself when it comes."""

    machine: str
    """Ranks with the same one reach each other over the loopback."""
    host: str
    copy: tuple[int, ...]
    """The ranks that hold one copy of the model together with it; the first of them leads."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the coordinator is, and how to prove that one belongs to its run."""

    addresses: list[tuple[str, int]]
    secret: str
    """Hexadecimal."""
    leading: list[int]
    """The ranks that work, each for its copy of the model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `evaluate` returns or raises, on every rank."""

    results: Results | None = None
    error: str = ""
    kind: Literal["", "configuration", "run"] = ""

    @classmethod
    def of_error(cls, error: BaseException) -> Self:
        """An error as the others will raise it."""
        if isinstance(error, ConfigurationError):
            return cls(None, str(error), "configuration")
        return cls(
            None, str(error) if isinstance(error, MusterError) else f"{type(error).__name__}: {error}", "run"
        )

    def given(self) -> Results:
        """The results. Raises `ConfigurationError` or `RunError`."""
        if self.results is None:
            raise self.as_error()
        return self.results

    def as_error(self) -> MusterError:
        """The error, where there are no results."""
        return (ConfigurationError if self.kind == "configuration" else RunError)(self.error)


@dataclass(slots=True)
class RankGroup:
    """One rank's view of the ranks that evaluate together."""

    rank: int
    size: int
    store: Store
    """For this call alone."""
    calls: Store
    """For all calls: how often each rank has called."""
    call: int

    @classmethod
    def of_this_job(cls) -> Self:
        """The ranks of the default process group, or this process alone where there is none."""
        import torch.distributed as dist
        from torch._C._distributed_c10d import HashStore, PrefixStore
        from torch.distributed import distributed_c10d

        if dist.is_initialized():
            rank, size = dist.get_rank(), dist.get_world_size()
            calls: Store = PrefixStore(f"muster/live/{_attempt()}", distributed_c10d._get_default_store())
        else:
            rank, size, calls = 0, 1, HashStore()
        call = calls.add(f"calls/{rank}", 1)
        return cls(rank, size, PrefixStore(str(call), calls), calls, call)

    def arrive(self, copy: Sequence[int]) -> None:
        """Say that this rank is here, and with which others it holds one copy of the model."""
        self._set(f"arrived/{self.rank}", Arrival(_machine(), host_name(), tuple(copy)))

    def gather(self, timeout: float) -> Mapping[int, Arrival]:
        """The first rank: everybody's arrival. Raises `RunError` naming those who don't come."""
        limit = time.monotonic() + timeout
        arrivals = {}
        for rank in range(self.size):
            found = self._wait([f"arrived/{rank}", "failed"], max(0.0, limit - time.monotonic()))
            if found == "failed":
                raise RunError(self.failure or "")
            if found is None:
                absent = [r for r in range(self.size) if not self.store.check([f"arrived/{r}"])]
                raise RunError(
                    f"rank{'s' if len(absent) > 1 else ''} {', '.join(map(str, absent[:20]))} of {self.size} didn't "
                    f"call muster.evaluate within {timeout:g} s, which ranks call together, as often as each other: "
                    "call it on every rank, also if only the first one uses the results (rendezvous_timeout)"
                )
            arrivals[rank] = self.arrival(rank)
        return arrivals

    def arrival(self, rank: int) -> Arrival:
        """What a rank that has come said of itself."""
        return msgspec.json.decode(self.store.get(f"arrived/{rank}"), type=Arrival)

    def open(self, meeting: Meeting) -> None:
        """The first rank: tell where the coordinator is."""
        self._set("meeting", meeting)

    def meeting(self, first_timeout: float, timeout: float) -> Meeting | None:
        """Where the coordinator is; None where there is nothing to do, or all has failed. See `outcome`.

        Raises `RunError` when the first rank doesn't come within `first_timeout`, or plans for longer than `timeout`.
        """
        if not self._wait(["arrived/0", "outcome"], first_timeout):
            raise RunError(
                f"rank 0 didn't call muster.evaluate within {first_timeout:g} s (rendezvous_timeout): call it on "
                f"every rank, equally often; this is call {self.call} of rank {self.rank}"
            )
        found = self._wait(["meeting", "outcome"], timeout)
        if found is None:
            raise RunError(f"rank 0 hasn't begun to evaluate within {timeout:g} s (load_timeout)")
        if self.store.check(["outcome"]):
            return None
        return msgspec.json.decode(self.store.get("meeting"), type=Meeting)

    def fail(self, reason: str) -> None:
        """Tell all that this rank can't go on; the first one's reason counts."""
        self.store.compare_set("failed", "", reason)

    @property
    def failure(self) -> str | None:
        """Why one rank can't go on."""
        return self.store.get("failed").decode() if self.store.check(["failed"]) else None

    @property
    def over(self) -> bool:
        """Whether the outcome is known, so that nobody will be waited for any more."""
        return bool(self.store.check(["outcome"]))

    def close(self, outcome: Outcome) -> None:
        """The first rank: tell what has become of it."""
        self._set("outcome", outcome)

    def outcome(self, timeout: float) -> Outcome:
        """What has become of it. Raises `RunError` when the first rank doesn't say so."""
        if not self._wait(["outcome"], timeout):
            raise RunError(f"rank 0 hasn't said what has become of the evaluation for {timeout:g} s")
        outcome = msgspec.json.decode(self.store.get("outcome"), type=Outcome)
        self.leave()
        return outcome

    def has_results(self, timeout: float) -> bool:
        """Wait for what becomes of it; whether all went well."""
        if not self._wait(["outcome"], timeout):
            return False
        return msgspec.json.decode(self.store.get("outcome"), type=Outcome).results is not None

    def leave(self) -> None:
        """This rank doesn't want to know any more."""
        self.store.add("left", 1)

    def announce_end(self) -> None:
        """The first rank: wait until all have read the outcome, and forget the call before this one."""
        limit = time.monotonic() + _READ_SECONDS
        while self.store.add("left", 0) < self.size and time.monotonic() < limit:
            time.sleep(_SHORTEST_PAUSE)
        with suppress(RuntimeError):  # a kind of store that forgets nothing
            for key in (f"{self.call - 1}/outcome", f"{self.call - 1}/meeting"):
                self.calls.delete_key(key)

    def _set(self, key: str, value: Arrival | Meeting | Outcome) -> None:
        self.store.set(key, msgspec.json.encode(value).decode())

    def _wait(self, keys: Sequence[str], timeout: float) -> str | None:
        """The first of these keys that is there, or None. `Store.wait` would keep signals out."""
        limit, pause = time.monotonic() + timeout, _SHORTEST_PAUSE
        while True:
            for key in keys:
                if self.store.check([key]):
                    return key
            if time.monotonic() > limit:
                return None
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 1.2 * pause)


@contextmanager
def store_reached() -> Iterator[None]:
    """Raises `RunError` when the store's host has gone, which torch says in its own way."""
    from torch.distributed import DistNetworkError, DistStoreError

    try:
        yield
    except (DistNetworkError, DistStoreError) as error:
        raise RunError(
            f"the store of the training job can't be reached: rank 0, or the launcher that hosts it, is gone ({error})"
        ) from error


def _attempt() -> int:
    """How often the launcher has restarted the job: its store may outlive it."""
    with suppress(ConfigurationError):
        ranks = read_ranks()
        return ranks.attempt if ranks is not None else 0
    return 0


def _machine() -> str:
    """The same for processes that share a loopback: one start of one system, and one network namespace of it."""
    parts = [host_name()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/net").stat().st_ino))
    return " ".join(parts)
