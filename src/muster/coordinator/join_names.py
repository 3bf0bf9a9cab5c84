"""How machines join a running run: what they are offered, and under which names their workers come in."""

from __future__ import annotations

import re
import secrets

import msgspec

from muster.wire.messages import SCHEMA, Hello, JoinRequest, Offer, Refused

MOST_REPLICAS = 1024
"""Of one machine."""
_LONGEST_NAME = 40


def new_machine_id() -> str:
    """A name for a machine that asks to join, which nobody else has."""
    return secrets.token_hex(8)


def other_version(schema: int) -> str:
    """Why somebody who speaks another version of the protocol can't come in."""
    return f"it speaks version {schema} of the protocol, the coordinator {SCHEMA}; install the same Muster everywhere"


class JoinNames:
    """Decides who may join under which name. No sockets here: `CoordinatorServer` asks it."""

    def __init__(self, offer: Offer) -> None:
        """`offer` is what everybody gets, with places of their own."""
        self._offer = offer
        self._workers: dict[str, list[str]] = {}
        """The workers' names of each machine_id."""
        self._prefixes: set[str] = set()

    def answer(self, join_request: JoinRequest) -> Offer | Refused:
        """What a machine is told that asks to join, or asks again."""
        if not 0 <= join_request.replicas <= MOST_REPLICAS:
            return Refused(
                f"{join_request.replicas} replicas on one machine: at most {MOST_REPLICAS} may join"
            )
        names = self._workers.get(join_request.machine_id, [])
        if join_request.replicas and not names:
            prefix = self._free_prefix(join_request)
            names = self._workers[join_request.machine_id] = [
                f"{prefix}.{number}" for number in range(join_request.replicas)
            ]
        return msgspec.structs.replace(self._offer, places=names)

    def admits(self, hello: Hello) -> bool:
        """Whether a worker is one of those that its machine was given a place for."""
        return hello.rank is None and hello.worker in self._workers.get(hello.machine_id, ())

    def _free_prefix(self, join_request: JoinRequest) -> str:
        """`gpu7`, or `NAME@gpu7` where the machine wants a name; `-2` and so on where that is taken.

        The dot before the number keeps these names apart from those of the run's own workers (`worker-0`).
        """
        host = _plain(join_request.host.partition(".")[0]) or "joined"
        wanted = f"{name}@{host}" if (name := _plain(join_request.name)) else host
        prefix, number = wanted, 1
        while prefix in self._prefixes:
            number += 1
            prefix = f"{wanted}-{number}"
        self._prefixes.add(prefix)
        return prefix


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_LONGEST_NAME].strip("-")
