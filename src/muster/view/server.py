"""The server of `muster view`: what may be asked, by whom, and how answers are sent."""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from muster.core import ConfigurationError, MusterError
from muster.core.foreign_code import ForeignCode
from muster.report.page.markup import text
from muster.report.page.shell import closing, opening, policy
from muster.results.files import encode_json
from muster.view.addresses import address
from muster.view.answers import HTML, JSON_TYPE, Answer, Answers
from muster.view.catalogue import NoSuchRunError
from muster.view.hosts import may_be_asked_as

log = logging.getLogger(__name__)

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MOST_FIELDS = 1000


class ViewServer(ThreadingHTTPServer):
    """Answers GET and HEAD; nothing that is asked changes anything."""

    daemon_threads = True

    def __init__(self, host: str, port: int, answers: Answers) -> None:
        """Listen. Raises `OSError` where that isn't possible."""
        self.host = host
        self.answers = answers
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    protocol_version = "HTTP/1.1"
    server_version = "muster"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _not_allowed(self) -> None:
        self.close_connection = True
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _not_allowed  # noqa: N815 - as the base class calls them

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        log.debug("%s " + format, self.address_string(), *args)

    @property
    def _chunked(self) -> bool:
        """So that an answer which breaks off is known for one; HTTP/1.0 has no such thing."""
        return self.request_version != "HTTP/1.0"

    def _reply(self, *, with_body: bool) -> None:
        self.close_connection = True  # bodies of requests are never read
        try:
            answer = self._answer()
            pieces = iter(answer.pieces)
            first = next(pieces, "")
        except Exception as error:
            log.exception("%s could not be answered", self.path)
            answer = self._problem(500, f"{type(error).__name__}: {error}")
            pieces = iter(answer.pieces)
            first = next(pieces, "")
        try:
            self._send_head(answer)
            if with_body:
                self._send_piece(first)
                self._send_all(pieces)
        except (ConnectionError, TimeoutError):
            log.debug("%s: the browser went away", self.path)
        except Exception:  # the head has been sent: the browser sees an answer that breaks off
            log.exception("%s broke off", self.path)
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host", [None])
        if len(hosts) > 1 or not may_be_asked_as(hosts[0], self.server.host):
            return self._problem(
                421, "This server is not called so. Ask it by its address, or start it with --host NAME."
            )
        if (
            self.headers.get("Sec-Fetch-Site") == "cross-site"
            and self.headers.get("Sec-Fetch-Mode") != "navigate"
        ):
            return self._problem(
                403, "Pages of other sites may link here, and not read or embed what is here."
            )
        parts = urlsplit(self.path)
        try:
            fields = parse_qs(parts.query, errors="replace", max_num_fields=_MOST_FIELDS)
        except ValueError as error:
            return self._problem(400, str(error))
        try:
            with ForeignCode():
                answer = self.server.answers.to(parts.path, fields)
        except NoSuchRunError as error:
            return self._problem(404, f"There is no run {error} here.")
        except ConfigurationError as error:
            return self._refused(error, parts.path, parts.query)
        except MusterError as error:
            return self._problem(500, str(error))
        return answer or self._problem(404, "There is no such page.")

    def _refused(self, error: ConfigurationError, path: str, query: str) -> Answer:
        more = ""
        if path == "/compare" and "--common" in str(error):
            restricted = text(f"/compare?{query}&common=1", 100_000)
            more = f'<p><a href="{restricted}">Compare the samples that all have</a></p>'
        return self._problem(409, str(error), more)

    def _problem(self, status: int, told: str, more: str = "") -> Answer:
        if urlsplit(self.path).path.endswith(".json"):
            return Answer(status, JSON_TYPE, [encode_json({"error": told})])
        back = f'<p><a href="{address("")}">all runs</a></p>'
        page = f"<main><h1>{status}</h1><pre>{text(told, 100_000)}</pre>{more}{back}</main>"
        return Answer(status, HTML, [opening(str(status), served=True), page, closing()])

    def _send_head(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        if self._chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        security = policy(answer.script, served=True) if answer.kind == HTML else "default-src 'none'"
        self.send_header("Content-Security-Policy", f"{security}; frame-ancestors 'none'")
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_all(self, pieces: Iterable[str | bytes]) -> None:
        for piece in pieces:
            self._send_piece(piece)
        if self._chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send_piece(self, piece: str | bytes) -> None:
        if encoded := piece.encode() if isinstance(piece, str) else piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(encoded), encoded) if self._chunked else encoded)
