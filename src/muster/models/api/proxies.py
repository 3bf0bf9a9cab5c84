"""Which proxy a server is asked through: the usual variables, and none for this very machine.

HTTP_PROXY, HTTPS_PROXY and NO_PROXY are read as the standard library reads them (`urllib.request.getproxies`); NO_PROXY
may also name a port (`host:8000`), a pattern (`*.example.com`) and a network (`10.0.0.0/8`), as other programs have it.
The loopback never needs a proxy, and one would look for the server on its own machine.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from muster.core import ConfigurationError


class Proxy(NamedTuple):
    """Where a proxy is, and by which variable it was found."""

    url: str
    """Without credentials."""
    variable: str
    user: str | None = None
    password: str = ""


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    if address is None:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is given as, also in the short forms that connecting takes (`127.1`)."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except OSError:
        return None


def _excepted(host: str, port: int | None) -> bool:
    """Whether NO_PROXY names this host."""
    if urllib.request.proxy_bypass(host):
        return True
    entries = urllib.request.getproxies().get("no", "").lower().split(",")
    return any(_names(entry.strip(), host.lower(), port) for entry in entries)


def _names(entry: str, host: str, port: int | None) -> bool:
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    if not entry:
        return False
    address = _address(host)
    if address is not None and "*" not in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    return fnmatchcase(host, entry) or (colon != "" and host.endswith(f".{entry.removeprefix('.')}"))


def proxy_of(url: str, *, general: bool = False) -> Proxy | None:
    """The proxy for an address; None where it is asked directly. `general`: ALL_PROXY counts too."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    if is_loopback(host) or _excepted(host, port):
        return None
    known = urllib.request.getproxies()
    for scheme in (parts.scheme, "all") if general else (parts.scheme,):
        if address := known.get(scheme):
            return _proxy(address if "://" in address else f"http://{address}", f"{scheme.upper()}_PROXY")
    return None


def _proxy(address: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(address)
        where = parts.netloc.rpartition("@")[2]
        user = unquote(parts.username) if parts.username is not None else None
        return Proxy(
            urlunsplit((parts.scheme, where, "", "", "")), variable, user, unquote(parts.password or "")
        )
    except ValueError as error:
        raise ConfigurationError(f"the environment variable {variable} holds no address: {error}") from None


def described(url: str, *, general: bool = False) -> str:
    """An endpoint for error messages: with the proxy that stands between, since what comes may be the proxy's."""
    proxy = proxy_of(url, general=general)
    if proxy is None:
        return url
    host = urlsplit(url).hostname
    return f"{url} (through the proxy {proxy.url} of {proxy.variable}; NO_PROXY={host} goes without)"
