"""What `--model-args` mean to all backends for APIs."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from muster.core import JSON, ConfigurationError
from muster.core.text import did_you_mean
from muster.models.template_settings import TOGETHER, take_template_settings

Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class ApiOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`--model-args`, where nothing else is said."""

    base_url: str | list[str] | None = None
    api_key_env: str | None = None
    timeout: Positive | None = None
    """Seconds for one attempt; None: half of what the request may take."""
    connect_timeout: Positive = 10.0
    wait_for_server: NotNegative = 0.0
    """Seconds to wait at the start for a server that isn't there yet."""
    max_retries: Count = 8
    """After failures of the server. Refusals for overload are bounded by time alone."""
    price_input: NotNegative | None = None
    """For a million tokens, in whatever currency."""
    price_output: NotNegative | None = None
    max_images: Count | None = None
    """Per prompt; None: the server decides."""
    max_image_bytes: Annotated[int, msgspec.Meta(ge=1024)] | None = None
    """Of the encoded file; None: the API's own limit."""
    max_image_side: Annotated[int, msgspec.Meta(ge=16)] | None = None
    """Pixels; None: the API's own limit."""
    image_urls: bool = False
    """Whether images that are given as addresses are handed to the server as such."""
    extra_body: dict[str, Any] = {}
    """Merged into every request; null leaves a parameter out."""
    extra_headers: dict[str, Any] = {}
    """Sent with every request; `env:VARIABLE` takes a value from the environment (`headers`)."""


T = TypeVar("T", bound=ApiOptions)


def parse_options(args: Mapping[str, JSON], kind: type[T]) -> T:
    """`--model-args` as a `kind`. Raises `ConfigurationError` for what it doesn't know."""
    if "api_key" in args:
        raise ConfigurationError(
            "api_key in --model-args would be seen by everybody who can list processes: put the key into an "
            "environment variable and name that, api_key_env=NAME, unless it is the usual one"
        )
    known = [field.name for field in msgspec.structs.fields(kind)]
    if TOGETHER in known:
        args = dict(args)
        args[TOGETHER] = take_template_settings(args)
    for name in args:
        if name not in known:
            raise ConfigurationError(
                f"--model-args {name}: this backend has no such argument{did_you_mean(name, known) or '.'} Known: "
                f"{', '.join(known)}. What is for the server goes into "
                'extra_body={"NAME": value}'
            )
    try:
        return msgspec.convert(dict(args), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"--model-args: {error}") from None


class BaseUrl(NamedTuple):
    """Where an endpoint is."""

    url: str
    """Without credentials, without a slash at the end; as it is shown."""
    user: str | None = None
    password: str = ""
    """Of HTTP basic authentication, where the address has them."""

    @property
    def host(self) -> str:
        """The host's name."""
        return urlsplit(self.url).hostname or ""


def base_urls(given: str | list[str] | None, variable: str, default: str) -> tuple[BaseUrl, ...]:
    """The endpoints: `given` (one, a list, or `[a,b]` as one text), else the environment's, else the default.

    Raises:
        ConfigurationError: something isn't an http(s) address.
    """
    value = given or os.environ.get(variable) or default
    if isinstance(value, str):
        value = value.removeprefix("[").removesuffix("]").split(",")
    urls = tuple(_base_url(each) for each in value if each.strip())
    if not urls:
        raise ConfigurationError("--model-args base_url is empty")
    if len({url.url for url in urls}) != len(urls):
        raise ConfigurationError("--model-args base_url names a server twice")
    return urls


def _base_url(text: str) -> BaseUrl:
    try:
        parts = urlsplit(text.strip().strip("\"'"))
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"--model-args base_url: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = _without_credentials(text)
        meant = "" if "://" in text else f" (did you mean http://{shown.strip()}?)"
        raise ConfigurationError(
            f"--model-args base_url={shown}: expected an address such as http://127.0.0.1:8000/v1{meant}"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port is None else f"{host}:{port}"
    shown = urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), parts.query, ""))
    user = unquote(parts.username) if parts.username is not None else None
    return BaseUrl(shown, user, unquote(parts.password or ""))


def _without_credentials(text: str) -> str:
    return re.sub(r"^[^@]*@", "***@", text)


def read_key(name: str, *, needed: bool) -> str:
    """The key in an environment variable; empty where there is none.

    Raises:
        ConfigurationError: it is `needed` and isn't there.
    """
    key = os.environ.get(name, "").strip()
    if needed and not key:
        raise ConfigurationError(
            f"there is no key: set the environment variable {name}, or name another with --model-args api_key_env=NAME"
        )
    if not key.isascii() or any(character.isspace() for character in key):
        raise ConfigurationError(f"the key in {name} holds characters that no key has: was it copied whole?")
    return key


def with_extra(content: dict[str, JSON], extra: Mapping[str, JSON]) -> dict[str, JSON]:
    """A request's body with `extra_body` merged into it: null leaves a parameter out."""
    return {name: value for name, value in (content | dict(extra)).items() if value is not None}


def providers(urls: tuple[BaseUrl, ...]) -> list[str]:
    """The hosts that name a provider: of https addresses that are not private.

    A server of one's own may stand on another node tomorrow, and is the same model.
    """
    return sorted({url.host for url in urls if url.url.startswith("https:") and not _is_private(url.host)})


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localdomain", ".svc", ".lan"))
