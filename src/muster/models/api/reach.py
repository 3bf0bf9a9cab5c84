"""Whether somebody listens at the endpoints, found out before the first request."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from muster.core import ConfigurationError
from muster.models.api.options import ApiOptions, BaseUrl
from muster.models.api.proxies import proxy_of

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LEAST_SECONDS = 1.0
"""For one look, however little is left of `wait_for_server`."""
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
"""What OpenSSL calls an answer in another protocol."""


def check_reachable(urls: Sequence[BaseUrl], options: ApiOptions) -> None:
    """Wait up to `wait_for_server` seconds until a connection to one endpoint, or to its proxy, can be made.

    Raises `ConfigurationError` when none can be reached; those that can't beside others that can are only reported.
    """
    limit = time.monotonic() + options.wait_for_server
    with ThreadPoolExecutor(min(len(urls), 32), "muster-reach") as threads:
        while True:
            rest = limit - time.monotonic() if options.wait_for_server else options.connect_timeout
            seconds = min(options.connect_timeout, max(rest, LEAST_SECONDS))
            problems = threads.map(lambda url: _problem(url, seconds), urls)  # noqa: B023  used up at once
            failed = {url.url: problem for url, problem in zip(urls, problems, strict=True) if problem}
            if len(failed) < len(urls):
                break
            if time.monotonic() >= limit:
                lines = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
                raise ConfigurationError(
                    f"no server can be reached ({lines}). Start it, mend --model-args base_url, or wait for it with "
                    "--model-args wait_for_server=SECONDS"
                )
            time.sleep(min(POLL_SECONDS, max(0.0, limit - time.monotonic())))
    for name, problem in failed.items():
        log.warning("%s can't be reached at the moment (%s); the others are asked", name, problem)


def _problem(url: BaseUrl, seconds: float) -> str | None:
    proxy = proxy_of(url.url)
    parts = urlsplit(proxy.url if proxy else url.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    who = f"the proxy {proxy.url} of {proxy.variable}: " if proxy else ""
    deadline = time.monotonic() + seconds
    try:
        addresses = _looked_up(host, port, seconds)
    except TimeoutError:
        return f"{who}the name {host} could not be looked up within {seconds:.0f} s: no name server answered"
    except (OSError, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        return f"{who}the name {host} is not known here ({words or error})"
    problem: str | None = "no address"
    for address in addresses:
        problem = _connection_problem(
            address,
            host,
            max(deadline - time.monotonic(), 0.1),
            tls=url.url.startswith("https:") and not proxy,
        )
        if problem is None:
            return None
    return f"{who}{problem}"


def _looked_up(host: str, port: int, seconds: float) -> list[tuple[str, int]]:
    """The addresses of a name. The system's own look-up knows no limit and may take minutes.

    Raises:
        TimeoutError: there was no answer within `seconds`.
        OSError: the name is not known.
    """
    found: list[tuple[str, int]] = []
    errors: list[Exception] = []

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            errors.append(error)
        else:
            found.extend((str(info[4][0]), port) for info in infos)

    thread = threading.Thread(target=look_up, name="muster-names", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not found:
        raise TimeoutError
    return found


def _connection_problem(address: tuple[str, int], host: str, seconds: float, *, tls: bool) -> str | None:
    try:
        with socket.create_connection(address, timeout=seconds) as connection:
            return _tls_problem(connection, host) if tls else None
    except TimeoutError:
        return f"no connection within {seconds:.0f} s"
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__


def _tls_problem(connection: socket.socket, host: str) -> str | None:
    """Whether TLS is spoken at all; whom to trust is decided where requests are sent."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with contextlib.closing(context.wrap_socket(connection, server_hostname=host)):
            return None
    except ssl.SSLError as error:
        if error.reason in _NO_TLS:
            return "it answers, but not in TLS: write http:// instead of https://"
        return None
    except TimeoutError:
        return "it listens, and doesn't answer in TLS: is it http:// instead of https://?"
    except OSError:
        return None
