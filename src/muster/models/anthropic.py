"""The anthropic backend: Claude, through Anthropic's SDK.

Format: Anthropic's API reference, Messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from muster.core import JSON, Message, Part, Request, Usage
from muster.media.images import describe
from muster.models.api.endings import check_ending
from muster.models.api.failures import (
    Asked,
    Refusal,
    UnavailableError,
    judge,
    read_error_body,
    read_retry_after,
    shown,
)
from muster.models.api.headers import authorizes, read_headers, secret_parts
from muster.models.api.images import ImageLimits, encode_image
from muster.models.api.model import ApiModel
from muster.models.api.options import (
    ApiOptions,
    BaseUrl,
    parse_options,
    read_key,
    with_extra,
)
from muster.models.api.parameters import Parameters
from muster.models.api.prompts import check_images
from muster.models.api.protocol import Prepared, Reply
from muster.models.api.proxies import described
from muster.models.api.reach import check_reachable
from muster.models.api.secrets import secrets_of, without
from muster.models.api.videos import with_frames
from muster.models.protocol import ModelSettings
from muster.models.registry import require

require("anthropic", "anthropic")

import anthropic  # noqa: E402
import httpx2  # noqa: E402
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming  # noqa: E402

from muster.models.api.sdk import connection_error, http_client  # noqa: E402

URL_VARIABLE = "ANTHROPIC_BASE_URL"
KEY_VARIABLE = "ANTHROPIC_API_KEY"
DEFAULT_URL = "https://api.anthropic.com"
IMAGE_LIMITS = ImageLimits(bytes=3_750_000, side=8000)
"""Anthropic's: 5 MB as base64, 8,000 pixels."""

UNTAKEN = frozenset(
    {"temperature", "top_p", "top_k"} - MessageCreateParamsNonStreaming.__annotations__.keys()
)
"""Parameters that the API version of the installed SDK refuses: since SDK 2 all three."""


class _Block(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""


class _Tokens(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Answer(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Tokens | None = None


_answer = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class MessagesFormat:
    """What the server is asked, beside the request itself."""

    model: str
    image_limits: ImageLimits
    options: ApiOptions
    parameters: Parameters

    def body(self, request: Request) -> Prepared[dict[str, JSON]]:
        """The request as the API wants it. Raises `SampleError` for what it doesn't take."""
        request, note = with_frames(request)
        check_images(request, self.options.max_images)
        notes = [note] if note else []
        generation = request.generation
        system = "\n\n".join(message.text for message in request.messages if message.role == "system")
        content: dict[str, JSON] = {
            "model": self.model,
            "max_tokens": generation.max_new_tokens,
            "messages": [
                self._message(message, notes) for message in request.messages if message.role != "system"
            ],
            "temperature": generation.temperature,
        }
        if system:
            content["system"] = system
        if generation.temperature > 0 and generation.top_p < 1:
            content["top_p"] = generation.top_p
        if generation.temperature > 0 and generation.top_k is not None:
            content["top_k"] = generation.top_k
        if stops := [
            stop for stop in generation.stop if stop.strip()
        ]:  # blank ones are refused, and cut off here
            content["stop_sequences"] = list(stops)
        if left_out := self.parameters.left_out(content):
            notes.append(left_out)
        body = with_extra(self.parameters.kept(content), self.options.extra_body)
        return Prepared(body, "; ".join(notes) or None)

    def _message(self, message: Message, notes: list[str]) -> JSON:
        return {"role": message.role, "content": [self._part(part, notes) for part in message.parts]}

    def _part(self, part: Part, notes: list[str]) -> JSON:
        media = part.media
        if media is None:
            return {"type": "text", "text": part.text or ""}
        if media.url is not None and self.options.image_urls:
            return {"type": "image", "source": {"type": "url", "url": media.url}}
        image = encode_image(media, self.image_limits)
        if image.note:
            notes.append(f"{describe(media)}: {image.note}")
        source: JSON = {"type": "base64", "media_type": image.media_type, "data": image.base64}
        return {"type": "image", "source": source}


class Messages:
    """Implements `Api` with Anthropic's SDK."""

    def __init__(
        self,
        urls: Sequence[BaseUrl],
        key: str,
        key_variable: str,
        body: MessagesFormat,
        headers: Mapping[str, str],
    ) -> None:
        self._headers = headers
        self._urls, self._key, self._format = urls, key, body
        self._asked = [Asked(described(url.url, general=True), body.model, key_variable) for url in urls]
        self.parameters = body.parameters
        self._clients: list[anthropic.AsyncAnthropic] = []

    def prepare(self, request: Request) -> Prepared[dict[str, JSON]]:
        """See `Api`."""
        return self._format.body(request)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """See `Api`."""
        async with http_client(self._format.options.connect_timeout, self._urls) as http:
            self._clients = [
                anthropic.AsyncAnthropic(
                    api_key=self._key or None,
                    base_url=url.url,
                    max_retries=0,
                    timeout=http.timeout,
                    http_client=http,
                    default_headers=dict(self._headers),
                )
                for url in self._urls
            ]
            yield

    async def ask(self, endpoint: int, body: dict[str, JSON]) -> Reply:
        """See `Api`."""
        asked = self._asked[endpoint]
        try:
            response = await self._clients[endpoint].post("/v1/messages", body=body, cast_to=httpx2.Response)
        except anthropic.APIStatusError as error:
            message, code = read_error_body(error.response.content)
            retry_after = read_retry_after(error.response.headers)
            location = error.response.headers.get("location", "") if 300 <= error.status_code < 400 else ""
            raise judge(
                Refusal(error.status_code, message, code, retry_after, location=location), asked
            ) from None
        except (anthropic.APIConnectionError, httpx2.HTTPError) as error:
            raise connection_error(error, asked.endpoint) from None
        return _read(response.content, asked.endpoint)

    def leave_out(self, body: dict[str, JSON], parameter: str) -> dict[str, JSON] | None:
        """See `Api`."""
        return self.parameters.without(body, parameter)

    def scrub(self, text: str) -> str:
        """See `Api`."""
        return without(text, self._key, *secret_parts(self._headers), *secrets_of(*self._urls))


def _read(content: bytes, endpoint: str) -> Reply:
    try:
        answer = _answer.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        words = shown(content[:200].decode(errors="replace"))
        raise UnavailableError(
            f"{endpoint} answered something that is no message ({error}): {words}"
        ) from None
    text = "".join(block.text for block in answer.content if block.type == "text")
    tokens = answer.usage
    usage = Usage()
    if tokens is not None:
        cached = (tokens.cache_creation_input_tokens or 0) + (tokens.cache_read_input_tokens or 0)
        usage = Usage(tokens.input_tokens + cached, tokens.output_tokens)
    thought = "".join(block.thinking for block in answer.content if block.type == "thinking")
    return Reply(text, check_ending(answer.stop_reason, endpoint, said=bool(text or thought)), usage, thought)


def _other_version(headers: Mapping[str, str]) -> bool:
    """Whether the user asks for an API version, of which nothing is known here."""
    return any(name.lower() == "anthropic-version" for name in headers)


class AnthropicModel(ApiModel[dict[str, JSON]]):
    """A Claude model."""

    notes: Mapping[str, str] = {}
    default_url = DEFAULT_URL
    url_variable = URL_VARIABLE

    def __init__(self, settings: ModelSettings) -> None:
        options = parse_options(settings.args, ApiOptions)
        urls = self.urls(options)
        variable = options.api_key_env or KEY_VARIABLE
        headers = read_headers(options.extra_headers)
        key = read_key(variable, needed=not authorizes(headers))
        limits = ImageLimits(
            options.max_image_bytes or IMAGE_LIMITS.bytes, options.max_image_side or IMAGE_LIMITS.side
        )
        untaken = frozenset[str]() if _other_version(headers) else UNTAKEN
        if untaken:
            names = ", ".join(sorted(untaken))
            self.notes = {
                "sampling": f"{names} are not sent: the API version of anthropic {anthropic.__version__} takes none "
                "of them; the model samples as Anthropic has set it"
            }
        parameters = Parameters(options.extra_body, untaken=untaken)
        api = Messages(
            urls, key, variable, MessagesFormat(settings.model, limits, options, parameters), headers
        )
        super().__init__(settings, options, api, [url.url for url in urls])
        check_reachable(urls, options)
