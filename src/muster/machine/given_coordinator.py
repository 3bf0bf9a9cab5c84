"""Where the coordinator is, said before anything starts: for ranks that meet without a launcher's rendezvous.

Rank 0 listens there and the others connect, with a secret that lies in a file on each machine. No c10d store, and so no
torch, and no port but this one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from muster.core import ConfigurationError
from muster.machine.interfaces import interface_address, is_loopback
from muster.wire.endpoint import LOOPBACK, Endpoint, parse_endpoint
from muster.wire.join_secret import key_of, read_secret

ADDRESS = "MUSTER_COORDINATOR"
SECRET_FILE = "MUSTER_COORDINATOR_SECRET_FILE"  # noqa: S105  the variable's name


class GivenCoordinator(NamedTuple):
    """What all ranks were told."""

    endpoint: Endpoint
    key: bytes
    """What the handshake is made with."""

    def listen_host(self, env: Mapping[str, str] = os.environ) -> str:
        """Where rank 0 listens: at the interface that was chosen for Gloo or NCCL, else everywhere.

        Not at the address itself, which may be a service's or a router's; unless that is the loopback. Raises
        `ConfigurationError` where there is no such interface.
        """
        host = self.endpoint.host
        if host == "::1":
            return host
        if is_loopback(host):
            return LOOPBACK
        return interface_address(env) or ("::" if ":" in host else "0.0.0.0")  # noqa: S104  whoever knows the secret


def given_coordinator(env: Mapping[str, str] = os.environ) -> GivenCoordinator | None:
    """The address and the secret in the environment; None where no address is.

    Raises:
        ConfigurationError: no address, no secret, or one of them can't be used; says which variable.
    """
    if not (address := env.get(ADDRESS)):
        return None
    try:
        endpoint = parse_endpoint(address)
    except ValueError as error:
        raise ConfigurationError(f"{ADDRESS}: {error}") from None
    if endpoint.port == 0 or endpoint.everywhere:
        raise ConfigurationError(
            f"{ADDRESS}={address}: all ranks connect there, so it must be an address of rank 0's node and a port"
        )
    if not (file := env.get(SECRET_FILE)):
        raise ConfigurationError(
            f"{ADDRESS} is set, and {SECRET_FILE} is not: name a file with the same secret on every node "
            "(`head -c 32 /dev/urandom | base64 > FILE`, readable by you alone)"
        )
    return GivenCoordinator(endpoint, key_of(read_secret(Path(file), f"{SECRET_FILE}={file}"), "ranks"))
