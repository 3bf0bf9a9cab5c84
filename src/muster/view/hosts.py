"""Which names a browser may have reached this server by: a page elsewhere can point its own name at this machine."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine's own, which nobody else can reach."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def may_be_asked_as(header: str | None, bound_to: str) -> bool:
    """Whether a request's `Host` is one that this server has, so that it isn't one of a page that rebinds names (DNS).

    On loopback: `localhost`, an address of loopback, and what was given as `--host`. Elsewhere also any address, since
    no attacker's name is one, and this machine's name.
    """
    if header is None:
        return False
    try:
        host = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return False
    if host in ("localhost", bound_to.lower()):
        return True
    address = _address(host)
    if is_loopback(bound_to):
        return address is not None and address.is_loopback
    return address is not None or host in {socket.gethostname().lower(), socket.getfqdn().lower()}


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
