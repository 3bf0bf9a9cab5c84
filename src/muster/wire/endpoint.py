"""`HOST:PORT`, as users write it."""

from __future__ import annotations

from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Endpoint(NamedTuple):
    """Where somebody listens. Port 0: one that the system chooses."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def everywhere(self) -> bool:
        """Whether it stands for all of this machine's addresses."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104


def parse_endpoint(text: str, default_host: str | None = None, default_port: int | None = None) -> Endpoint:
    """Read `HOST:PORT`, `[IPv6]:PORT`, and, where there is a default for the rest, `HOST` or `PORT` alone.

    Raises:
        ValueError: it is none of these; says what is missing.
    """
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not an address: an IPv6 address is written [ADDRESS]:PORT")
    elif text.isdigit() and default_host is not None:
        host, port = default_host, text
    elif text.count(":") > 1:
        raise ValueError(f"{text!r} is not an address: an IPv6 address is written [ADDRESS]:PORT")
    else:
        host, _colon, port = text.partition(":")
    if not host:
        raise ValueError(f"{text!r} is not an address: HOST is missing in HOST:PORT")
    if not port and default_port is not None:
        return Endpoint(host, default_port)
    if not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address: write HOST:PORT, with a port from 1 to 65535")
    return Endpoint(host, int(port))
