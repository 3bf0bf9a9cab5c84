"""Whether somebody listens at the endpoints, found out before the first request."""

from __future__ import annotations

import logging
import socket
import time
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from muster.core import ConfigurationError
from muster.models.api.options import ApiOptions, BaseUrl

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


def check_reachable(urls: Sequence[BaseUrl], options: ApiOptions) -> None:
    """Wait up to `wait_for_server` seconds until a connection to one endpoint can be made.

    Addresses that are reached through a proxy are not tried. Raises `ConfigurationError` when none can be reached;
    those that can't beside others that can are only reported.
    """
    limit = time.monotonic() + options.wait_for_server
    while True:
        problems = {url.url: _problem(url, options.connect_timeout) for url in urls}
        failed = {name: problem for name, problem in problems.items() if problem is not None}
        if len(failed) < len(urls):
            break
        if time.monotonic() >= limit:
            lines = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
            raise ConfigurationError(
                f"no server can be reached ({lines}). Start it, mend --model-args base_url, or wait for it with "
                "--model-args wait_for_server=SECONDS"
            )
        time.sleep(POLL_SECONDS)
    for name, problem in failed.items():
        log.warning("%s can't be reached at the moment (%s); the others are asked", name, problem)


def _problem(url: BaseUrl, timeout: float) -> str | None:
    parts = urlsplit(url.url)
    if urllib.request.getproxies().get(parts.scheme) and not urllib.request.proxy_bypass(url.host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((url.host, port), timeout=timeout):
            return None
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
