"""Which proxy a server is asked through: the usual variables, and none for this very machine.

HTTP_PROXY, HTTPS_PROXY and NO_PROXY are read as the standard library reads them (`urllib.request.getproxies`). The
loopback never needs a proxy, and one would look for the server on its own machine.
"""

from __future__ import annotations

import ipaddress
import urllib.request
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
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def proxy_of(url: str, *, general: bool = False) -> Proxy | None:
    """The proxy for an address; None where it is asked directly. `general`: ALL_PROXY counts too."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
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
