"""Interfaces, addresses, and the port on which the group is to meet."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Mapping
from pathlib import Path

from muster.core import ConfigurationError
from muster.doctor.observation import Network
from muster.doctor.within import within
from muster.machine.interfaces import VARIABLES, chosen_by, interface_address, interface_addresses
from muster.machine.ranks import Ranks, master_address
from muster.machine.rendezvous import uses_agent_store

_SECONDS = 10.0
"""For the resolver, which may wait for name servers that don't answer."""
_ANYWHERE = "192.0.2.1"
"""RFC 5737: an address of nobody, to ask for the default route."""


def see_network(env: Mapping[str, str], ranks: Ranks | None) -> Network:
    """The chosen interface or that of the route to the meeting point, and the state of that point."""
    meeting, problem = _meeting(env, ranks)
    problems = interface_problems(env)
    if chosen_by(env) is None:
        address = _route_to(meeting[0] if meeting else _ANYWHERE)
    else:
        address = "" if problems else interface_address(env) or ""
    hosts = ranks is None or (ranks.rank == 0 and not uses_agent_store(env))
    return Network(
        interface=interface_of(address),
        address=address,
        own_name=_resolve(socket.gethostname()),
        interface_problems=problems,
        meeting=f"{meeting[0]}:{meeting[1]}" if meeting else "",
        port_taken_by=listener_on(meeting[1]) if meeting and hosts else "",
        foreign_master=bool(meeting and hosts and not _is_own(meeting[0])),
        meeting_problem=problem,
    )


def _meeting(env: Mapping[str, str], ranks: Ranks | None) -> tuple[tuple[str, int] | None, str]:
    if ranks is None:
        port = env.get("MASTER_PORT", "")
        return (("127.0.0.1", int(port)) if port.isdigit() else None), ""
    try:
        return master_address(ranks, env), ""
    except ConfigurationError as error:
        return None, str(error)


def interface_problems(env: Mapping[str, str]) -> list[str]:
    """For each variable that names no interface of this machine, a sentence that lists those there are."""
    problems: list[str] = []
    for name in VARIABLES:
        try:
            interface_address({name: env.get(name, "")})
        except ConfigurationError as error:
            problems.append(str(error))
    return problems


def interface_of(address: str) -> str:
    """The name of the interface that has this IPv4 address, or an empty string."""
    return next((name for name, its in interface_addresses().items() if its == address), "")


def _route_to(host: str) -> str:
    """The address from which this machine would talk to `host`; nothing is sent."""
    target = _resolve(host)
    if not target:
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return ""


def _resolve(host: str) -> str:
    try:
        return within(_SECONDS, f"the name {host}", lambda: socket.gethostbyname(host))
    except OSError:  # TimeoutError is one
        return ""


def _is_own(host: str) -> bool:
    address = _resolve(host)
    if not address:
        return True  # unknown, or IPv6: the meeting itself will tell
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def listener_on(port: int) -> str:
    """Who already listens on a port, so that it can't be opened; an empty string when it is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the store does: old connections don't count
        try:
            probe.bind(("", port))
            return ""
        except OverflowError:
            return f"nobody: {port} is not a port number"
        except PermissionError:
            return f"nobody, but ports below 1024 such as {port} are the system's"
        except OSError:
            return _owner(port)


def _owner(port: int) -> str:
    inodes = _listening_inodes(port)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or another user's
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                        return f"pid {process.name} ({' '.join(words[:3]).strip()[:60]})"
    return "another user's process or another container"


def _listening_inodes(port: int) -> set[str]:
    listening, inodes = "0A", set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == listening and int(columns[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{columns[9]}]")
    return inodes
