"""Network interfaces that the user chose for the process groups also carry Muster's own messages."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Mapping

from muster.core import ConfigurationError

_SIOCGIFADDR = 0x8915
"""Linux, netdevice(7): the IPv4 address of an interface."""
VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


def interface_address(env: Mapping[str, str] = os.environ) -> str | None:
    """The IPv4 address of the interface named by GLOO_SOCKET_IFNAME or NCCL_SOCKET_IFNAME, if one is.

    NCCL's prefix lists (`eth,ib`) and exclusions (`^docker`) are matched against this machine's interfaces.

    Raises:
        ConfigurationError: the interface doesn't exist here or has no address; lists those that do.
    """
    variable = next((name for name in VARIABLES if env.get(name)), None)
    if variable is None:
        return None
    addresses = _addresses()
    for name, address in addresses.items():
        if matches(name, env[variable]):
            return address
    known = ", ".join(f"{name} ({address})" for name, address in addresses.items())
    raise ConfigurationError(
        f"{variable}={env[variable]}: no such network interface with an IPv4 address on {socket.gethostname()}. "
        f"There are: {known}"
    )


def matches(name: str, pattern: str) -> bool:
    """Whether an interface is meant: `eth0`, a prefix `eth`, `=eth0` exactly, or `^docker,lo` for all others."""
    if pattern.startswith("^"):
        return not any(name.startswith(prefix) for prefix in pattern[1:].split(","))
    if pattern.startswith("="):
        return name in pattern[1:].split(",")
    return any(name.startswith(prefix) for prefix in pattern.split(","))


def _addresses() -> dict[str, str]:
    found: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # an interface without an IPv4 address
            found[name] = socket.inet_ntoa(answer[20:24])
    return found
