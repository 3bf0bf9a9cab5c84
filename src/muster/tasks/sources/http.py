"""Files from web servers: continued where they broke off, and whole before they get their name."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from muster.core.phases import advance, phase

ATTEMPTS = 4
"""Tries without a byte of progress before a download is given up."""
TIMEOUT = 60.0
"""Seconds without a byte."""
_BLOCK = 1 << 20
_RANGE_NOT_SATISFIABLE = 416
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnreachableError(Exception):
    """The server can't be reached, or keeps breaking off."""


class RefusedError(Exception):
    """The server answers, and won't give the file: it isn't there, or it wants a login."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What came of a file so far: its bytes, and which version of the file they are of."""

    content: Path
    note: Path

    @property
    def size(self) -> int:
        return self.content.stat().st_size if self.content.exists() else 0

    def version(self) -> str | None:
        with suppress(OSError, ValueError):
            return str(json.loads(self.note.read_text(encoding="utf-8"))["version"])
        return None

    def drop(self) -> None:
        self.content.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(url: str, target: Path, sleep: Callable[[float], None] = time.sleep) -> Path:
    """Fetch `url` into `target`.part, going on where an earlier try broke off, and return that path.

    Proxies are taken from the environment, certificates checked. Raises `RefusedError`, `UnreachableError`, and
    `OSError` where the file can't be written.
    """
    part = _Part(target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json"))
    fruitless, problem = 0, ""
    while fruitless < ATTEMPTS:
        before = part.size
        try:
            if _continue(url, part):
                part.note.unlink(missing_ok=True)
                return part.content
            problem = f"the connection broke off after {part.size} bytes"
        except HTTPError as error:
            if error.code not in _TRANSIENT:
                raise RefusedError(f"{error.code} {error.reason}") from error
            problem = f"{error.code} {error.reason}"
        except (HTTPException, URLError, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", "") or error) or type(error).__name__
        fruitless = 0 if part.size > before else fruitless + 1
        if fruitless < ATTEMPTS:
            sleep(2.0**fruitless / 2)
    raise UnreachableError(problem)


def _continue(url: str, part: _Part) -> bool:
    """Ask for what is missing; whether the file is whole afterwards."""
    version = part.version()
    if part.size and version is None:  # bytes of who knows which version
        part.drop()
    headers = {"User-Agent": "muster", "Accept-Encoding": "identity"}
    if part.size and version is not None:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": version}
    try:
        response = _opener().open(Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310 - http(s) only, below
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE and part.size:
            part.drop()  # it has become shorter: start again
            return False
        raise
    with response:
        continued = response.status == 206 and _continues(response, part.size)
        if not continued:
            part.drop()
            if version := _version(response):
                part.note.write_text(json.dumps({"version": version}), encoding="utf-8")
        expected = _length(response)
        size = part.size
        name = part.content.name.removesuffix(".part")
        with phase(f"downloading {name}", "bytes", None if expected is None else size + expected) as loading:
            loading.done = size
            received = _save(response, part.content)
    return expected is None or received == expected


def _save(response: HTTPResponse, content: Path) -> int:
    received = 0
    with content.open("ab") as file:
        try:
            while block := response.read(_BLOCK):
                file.write(block)
                received += len(block)
                advance(len(block))
        finally:
            file.flush()
            os.fsync(file.fileno())
    return received


def _continues(response: HTTPResponse, size: int) -> bool:
    """Whether the answer begins where our bytes end. Raises where it begins elsewhere: a server that can't count."""
    begins = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if begins != str(size):
        raise HTTPException(f"asked for bytes from {size} on, the server sent them from {begins!r} on")
    return True


def _version(response: HTTPResponse) -> str | None:
    """What tells this version of the file from others: a strong ETag, else the date."""
    tag: str | None = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _length(response: HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length")
    return int(length) if length and length.isdigit() else None


def _opener() -> OpenerDirector:
    """Speaks HTTP and HTTPS and nothing else: no redirect may lead to a file of this machine."""
    opener = OpenerDirector()
    handlers = (HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects)
    opener.add_handler(ProxyHandler())
    for handler in handlers:
        opener.add_handler(handler())
    return opener


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to web servers, but not from HTTPS to plain HTTP."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after == "http"):
            raise RefusedError(f"go to another place by {after} instead of {before}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
