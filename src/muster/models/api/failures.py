"""Why an API gave no answer, sorted by what is to be done about it."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC
from typing import NamedTuple

from muster.core import ConfigurationError, RunError, SampleError, TransientError
from muster.core.text import valid_text
from muster.models.api.parameters import refused_parameter

SHOWN_CHARACTERS = 500
"""Of a server's own words in an error message."""
OVERLOADED = frozenset({408, 409, 423, 425, 429, 529})
"""Statuses that will be others a moment later; 529 is Anthropic's."""
_TOO_LARGE = re.compile(r"request too large", re.IGNORECASE)
_WANTS_TLS = re.compile(r"HTTP request (?:was sent )?to (?:an )?HTTPS", re.IGNORECASE)
"""nginx's and Go's words."""
_NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
_OUT_OF_FUNDS = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_UNSUPPORTED = frozenset({"unsupported_parameter", "unsupported_value"})


class OverloadedError(TransientError):
    """The server works, and won't take this request now (429). Asked again for as long as the request may take."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that it wants to be left alone."""


class UnavailableError(TransientError):
    """The server failed: 5xx, a broken connection, silence, something unreadable. Asked again a few times."""

    def __init__(self, message: str, retry_after: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class UnreachableError(TransientError):
    """The request didn't get to the server. Asked again for as long as the request may take."""


class DeniedError(ConfigurationError):
    """401, 403, 404 and the like: the key, the model's name or the address is wrong. Ends the run."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class WithheldError(SampleError):
    """The provider's filter kept the answer back, or refused the prompt for what it says."""


class RefusedParameterError(SampleError):
    """400 or 422, for one of the request's parameters."""

    def __init__(self, message: str, parameter: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class UnsupportedError(ConfigurationError):
    """The server says that it never takes this parameter."""

    def __init__(self, message: str, parameter: str | None) -> None:
        super().__init__(message)
        self.parameter = parameter


class Asked(NamedTuple):
    """What error messages say about who was asked for what."""

    endpoint: str
    """The base URL, without credentials."""
    model: str
    key_variable: str
    """The environment variable of the key."""


class Refusal(NamedTuple):
    """An HTTP status that is no success, with the server's words."""

    status: int
    message: str
    code: str = ""
    retry_after: float | None = None
    parameter: str = ""
    """Which the server names as the one it refuses."""
    location: str = ""
    """Where a redirect leads to."""


Verdict = OverloadedError | UnavailableError | DeniedError | SampleError | RunError | ConfigurationError


def judge(refusal: Refusal, asked: Asked) -> Verdict:
    """The error that a refusal stands for."""
    status, words = refusal.status, refusal.message
    said = f"{asked.endpoint} answered {status}: {words}" if words else f"{asked.endpoint} answered {status}"
    if status == 402 or refusal.code in _OUT_OF_FUNDS or _NO_CREDIT.search(words):
        return RunError(
            f"{said}. The account may not ask any more; what was answered is kept. When that is settled, run the same "
            "command again"
        )
    if status == 429 and _TOO_LARGE.search(
        words
    ):  # OpenAI: over the account's tokens per minute all by itself
        return SampleError(said)
    if status in OVERLOADED or (status == 503 and refusal.retry_after is not None):
        return OverloadedError(said, refusal.retry_after)
    if status >= 500:
        return UnavailableError(said, refusal.retry_after, status)
    parameter = refused_parameter(words, refusal.parameter) if status in (400, 422) else None
    if refusal.code in _UNSUPPORTED:
        return UnsupportedError(
            f"{said}. To leave a parameter out: --model-args 'extra_body={{\"NAME\": null}}'; to send another: "
            "--model-args 'extra_body={\"NAME\": value}'",
            parameter,
        )
    if parameter is not None:
        return RefusedParameterError(said, parameter)
    if _WANTS_TLS.search(words):
        return DeniedError(f"{said}. It wants TLS: write https:// in base_url", status)
    if refusal.location:
        return DeniedError(
            f"{said}. It redirects to {shown(refusal.location)}: give base_url accordingly", status
        )
    return _denied(said, status, asked) or SampleError(said)


def _denied(said: str, status: int, asked: Asked) -> DeniedError | None:
    if status == 401:
        return DeniedError(
            f"{said}. The key is taken from the environment variable {asked.key_variable}; "
            "--model-args api_key_env=NAME names another",
            status,
        )
    if status == 407:
        return DeniedError(
            f"{said}. The proxy wants a name and a password: http://NAME:PASSWORD@HOST:PORT", status
        )
    if status == 403:
        return DeniedError(
            f"{said}. The key in {asked.key_variable} is not allowed to use {asked.model}", status
        )
    if status in (404, 405) or 300 <= status < 400:
        return DeniedError(
            f"{said}. Either the server has no model {asked.model!r} (--model is the name by which the server knows "
            "it), or base_url is wrong (most end in /v1)",
            status,
        )
    return None


def read_retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from `Retry-After` (seconds or an HTTP date) or `retry-after-ms`; None where there is none.

    `now`: Unix seconds. RFC 9110, section 10.2.3.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        date = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None


def untrusted(endpoint: str, error: BaseException) -> DeniedError:
    """The error for a certificate that isn't trusted: asking again won't change it."""
    return DeniedError(
        f"the certificate of {endpoint} isn't trusted: {shown(str(error))}. Name its authority's file with the "
        "environment variable SSL_CERT_FILE",
        495,
    )


def read_parameter(body: bytes) -> str:
    """The parameter that an error's body names as the cause (`param`, in OpenAI's form); empty where there is none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    error = content.get("error") if isinstance(content, dict) else None
    return str(error.get("param") or "") if isinstance(error, dict) else ""


def read_error_body(body: bytes) -> tuple[str, str]:
    """The message and the code in an error's body, whatever its form; at most `SHOWN_CHARACTERS`."""
    text = body.decode(errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return shown(re.sub(r"<[^>]*>", " ", text)), ""
    if isinstance(content, list) and content:  # Gemini's compatible endpoint
        content = content[0]
    error = content.get("error", content) if isinstance(content, dict) else content
    if not isinstance(error, dict):
        return shown(str(error)), ""
    message = next((error[name] for name in ("message", "detail", "msg") if error.get(name)), text)
    return shown(str(message)), str(error.get("code") or error.get("type") or "")


def shown(words: str) -> str:
    """A server's words as an error message can hold them: on one line, not too long."""
    line = " ".join(valid_text(words).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"
