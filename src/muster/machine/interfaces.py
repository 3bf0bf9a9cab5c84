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

    A Gloo name is exact. NCCL's prefix lists (`eth,ib`), exact names (`=eth0`) and exclusions (`^docker`) are
    matched as NCCL does; the loopback counts only where nothing else is left.

    Raises:
        ConfigurationError: the interface doesn't exist here or has no address; lists those that do.
    """
    variable = chosen_by(env)
    if variable is None:
        return None
    addresses = interface_addresses()
    pattern = env[variable]
    if variable == "GLOO_SOCKET_IFNAME" and not pattern.startswith(("^", "=")):
        pattern = f"={pattern}"
    found = [address for name, address in addresses.items() if matches(name, pattern)]
    if not found:
        raise ConfigurationError(
            f"{variable}={env[variable]}: no such network interface with an IPv4 address on "
            f"{socket.gethostname()}. There are: {describe_interfaces(addresses)}"
        )
    return next((address for address in found if not is_loopback(address)), found[0])


def chosen_by(env: Mapping[str, str] = os.environ) -> str | None:
    """The variable that chooses the interface, if one is set."""
    return next((name for name in VARIABLES if env.get(name)), None)


def matches(name: str, pattern: str) -> bool:
    """Whether an interface is meant: a prefix `eth`, `=eth0` exactly, `^docker,lo` or `^=docker0` for all others."""
    if pattern.startswith("^"):
        return not matches(name, pattern[1:])
    if pattern.startswith("="):
        return name in pattern[1:].split(",")
    return any(name.startswith(prefix) for prefix in pattern.split(","))


def is_loopback(address: str) -> bool:
    """Whether only this very machine can be meant."""
    return address == "localhost" or address.startswith("127.")


def describe_interfaces(addresses: Mapping[str, str] | None = None) -> str:
    """This machine's interfaces as messages list them: `lo (127.0.0.1), eth0 (10.0.0.5)`."""
    known = interface_addresses() if addresses is None else addresses
    return ", ".join(f"{name} ({address})" for name, address in known.items())


def interface_addresses() -> dict[str, str]:
    """The IPv4 address of each interface that is up and has one, by name."""
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
