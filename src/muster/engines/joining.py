"""How a run is opened to machines that join: where they come in, what they are told, and how the user hears of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from muster.coordinator.join_names import JoinNames
from muster.coordinator.server import CoordinatorServer
from muster.core import RunError
from muster.engines.job import Job, Listening
from muster.machine.interfaces import interface_addresses, is_loopback
from muster.machine.ranks import host_name
from muster.models.registry import backend_source
from muster.results.environment import package_versions
from muster.wire.endpoint import LOOPBACK, Endpoint
from muster.wire.join_secret import key_of, new_secret, write_secret
from muster.wire.messages import Offer


async def listen_for_joiners(server: CoordinatorServer, job: Job, session: str) -> None:
    """Let machines join, if the run is to be joined, and tell the user how.

    Raises:
        ConfigurationError: the file of the user's own backend can't be read.
        RunError: the address can't be listened on, or the secret not be written.
    """
    listening = job.listening
    if listening is None:
        return
    secret = listening.secret or new_secret()
    names = JoinNames(_offer(job, listening, session))
    address = listening.address
    try:
        port = await server.listen_for_joiners(names, address.host, address.port, key_of(secret))
    except OSError as error:
        what = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            what = "the port is taken, maybe by another run: choose another, or 0 for one that is free"
        raise RunError(f"--listen {address}: {what}") from error
    if listening.secret is None:
        write_secret(job.folder.join_secret, secret)
    for line in how_to_join(
        Endpoint(address.host, port), job.folder.join_secret, own=listening.secret is not None
    ):
        job.say(line)


@contextmanager
def secret_removed(job: Job) -> Iterator[None]:
    """Remove the secret's file when the run no longer listens."""
    try:
        yield
    finally:
        if job.listening is not None and job.listening.secret is None:
            job.folder.join_secret.unlink(missing_ok=True)


def how_to_join(address: Endpoint, secret_file: Path, *, own: bool) -> list[str]:
    """Lines for the user. `own`: the user has given a secret, and knows where it is."""
    command = f"muster worker --join {Endpoint(_reachable(address.host), address.port)}"
    if own:
        return [
            f"to add a machine:  {command} --secret-file FILE   (with the secret that this run was given)"
        ]
    lines = [f"to add replicas:  {command} --secret-file {secret_file}"]
    if not is_loopback(address.host):
        lines.append(f"  from elsewhere:  ssh HOST {command} < {secret_file}")
    return lines


def _offer(job: Job, listening: Listening, session: str) -> Offer:
    return Offer(
        session=session,
        run=listening.run,
        model=listening.model,
        backend=job.backend,
        backend_source=backend_source(job.backend),
        settings=msgspec.Raw(msgspec.msgpack.encode(job.settings)),
        fingerprint=msgspec.Raw(msgspec.msgpack.encode(dict(listening.fingerprint))),
        packages=package_versions(),
        places=[],
    )


def _reachable(host: str) -> str:
    """An address that others can use, for one that means all of this machine's."""
    if not Endpoint(host, 0).everywhere:
        return host
    own = [address for address in interface_addresses().values() if not is_loopback(address)]
    return own[0] if own else host_name() or LOOPBACK
