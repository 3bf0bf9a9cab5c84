"""The gemini backend: Gemini, through Google's SDK.

Format: Gemini API reference, models.generateContent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from muster.core import JSON, Message, Part, Request, Usage
from muster.media.images import describe
from muster.models.api.endings import check_ending
from muster.models.api.failures import (
    Asked,
    Refusal,
    UnavailableError,
    WithheldError,
    judge,
    read_retry_after,
    shown,
)
from muster.models.api.headers import read_headers, secret_parts
from muster.models.api.images import ImageLimits, encode_image
from muster.models.api.model import ApiModel
from muster.models.api.options import (
    ApiOptions,
    BaseUrl,
    parse_options,
    read_key,
)
from muster.models.api.parameters import Parameters
from muster.models.api.prompts import check_images, read_video, seed_of
from muster.models.api.protocol import Prepared, Reply
from muster.models.api.proxies import described
from muster.models.api.reach import check_reachable
from muster.models.api.secrets import secrets_of, without
from muster.models.api.videos import Framed, check_whole, with_frames
from muster.models.protocol import ModelSettings
from muster.models.registry import require

require("gemini", "google.genai")

import httpx2  # noqa: E402
from google import genai  # noqa: E402
from google.genai import errors, types  # noqa: E402

from muster.models.api.sdk import connection_error, http_client  # noqa: E402

URL_VARIABLE = "GEMINI_BASE_URL"
KEY_VARIABLES = ("GEMINI_API_KEY", "GOOGLE_API_KEY")
DEFAULT_URL = "https://generativelanguage.googleapis.com"
MOST_IMAGE_BYTES = 14_000_000
"""Of one image; Google's limit is 20 MB for all that is sent, base64 included."""
MOST_STOPS = 5


class GeminiOptions(ApiOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`--model-args` of this backend."""

    video: Literal["frames", "file"] = "frames"
    """Videos as images, or as the files they are: then Gemini takes one frame a second, whatever `--video` says."""


class Asking(NamedTuple):
    """What is asked, and how it is to be answered."""

    contents: list[types.Content]
    config: types.GenerateContentConfig


@dataclass(frozen=True, slots=True)
class ContentFormat:
    """What the server is asked, beside the request itself."""

    image_limits: ImageLimits
    options: GeminiOptions
    parameters: Parameters

    def body(self, request: Request) -> Prepared[Asking]:
        """The request as the SDK wants it. Raises `SampleError` for what it doesn't take."""
        request, note = with_frames(request) if self.options.video == "frames" else Framed(request)
        check_images(request, self.options.max_images)
        notes = [note] if note else []
        generation = request.generation
        sampled = generation.temperature > 0
        system = "\n\n".join(message.text for message in request.messages if message.role == "system")
        contents = [self._content(message, notes) for message in request.messages if message.role != "system"]
        sampling: dict[str, JSON] = {
            "temperature": generation.temperature,
            "top_p": generation.top_p if sampled and generation.top_p < 1 else None,
            "top_k": generation.top_k if sampled else None,
            "seed": seed_of(request) if sampled else None,
            "stop_sequences": list(generation.stop[:MOST_STOPS]) or None,
        }
        sent = {name: value for name, value in sampling.items() if value is not None}
        if left_out := self.parameters.left_out(sent):
            notes.append(left_out)
        config = types.GenerateContentConfig(
            max_output_tokens=generation.max_new_tokens,
            system_instruction=system or None,
            http_options=types.HttpOptions(extra_body=self.options.extra_body)
            if self.options.extra_body
            else None,
        )
        config = config.model_copy(update=self.parameters.kept(sent))
        return Prepared(Asking(contents, config), "; ".join(notes) or None)

    def _content(self, message: Message, notes: list[str]) -> types.Content:
        role = "model" if message.role == "assistant" else "user"
        return types.Content(role=role, parts=[self._part(part, notes) for part in message.parts])

    def _part(self, part: Part, notes: list[str]) -> types.Part:
        media = part.media
        if media is None:
            return types.Part(text=part.text or "")
        if media.kind == "video":
            check_whole(media)
            media_type, data = read_video(media)
            return types.Part.from_bytes(data=data, mime_type=media_type)
        image = encode_image(media, self.image_limits)
        if image.note:
            notes.append(f"{describe(media)}: {image.note}")
        return types.Part.from_bytes(data=image.data, mime_type=image.media_type)


class GenerateContent:
    """Implements `Api` with Google's SDK."""

    def __init__(
        self,
        urls: Sequence[BaseUrl],
        key: str,
        asked: Sequence[Asked],
        content: ContentFormat,
        headers: Mapping[str, str],
    ) -> None:
        self._headers = headers
        self._urls, self._key, self._asked, self._format = urls, key, asked, content
        self.parameters = content.parameters
        self._clients: list[genai.Client] = []

    def prepare(self, request: Request) -> Prepared[Asking]:
        """See `Api`."""
        return self._format.body(request)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """See `Api`."""
        async with http_client(self._format.options.connect_timeout, self._urls) as http:
            self._clients = [
                genai.Client(
                    vertexai=False,
                    api_key=self._key,
                    http_options=types.HttpOptions(
                        base_url=url.url,
                        httpx_async_client=http,
                        headers=dict(self._headers),
                        retry_options=types.HttpRetryOptions(attempts=1),  # retries are Muster's
                    ),
                )
                for url in self._urls
            ]
            yield

    async def ask(self, endpoint: int, body: Asking) -> Reply:
        """See `Api`."""
        asked = self._asked[endpoint]
        try:
            response = await self._clients[endpoint].aio.models.generate_content(
                model=asked.model, contents=list(body.contents), config=body.config
            )
        except errors.APIError as error:
            raise judge(_refusal(error), asked) from None
        except httpx2.HTTPError as error:
            raise connection_error(error, asked.endpoint) from None
        except (ValueError, TypeError, AttributeError, KeyError) as error:  # what its parsing stumbles over
            raise UnavailableError(
                f"{asked.endpoint} answered something that is no completion ({type(error).__name__}: "
                f"{shown(str(error))})"
            ) from None
        return _read(response, asked.endpoint)

    def leave_out(self, body: Asking, parameter: str) -> Asking | None:
        """See `Api`."""
        sent = body.config.model_dump(exclude_none=True)
        if self.parameters.without(sent, parameter) is None:
            return None
        name = "stop_sequences" if parameter == "stop" else parameter
        return body._replace(config=body.config.model_copy(update={name: None}))

    def scrub(self, text: str) -> str:
        """See `Api`."""
        return without(text, self._key, *secret_parts(self._headers), *secrets_of(*self._urls))


def _refusal(error: errors.APIError) -> Refusal:
    details = error.details.get("error", error.details) if isinstance(error.details, dict) else {}
    infos = details.get("details") if isinstance(details, dict) else None
    retry_after = (
        read_retry_after(error.response.headers) if isinstance(error.response, httpx2.Response) else None
    )
    status = error.code
    for info in infos if isinstance(infos, list) else ():
        if not isinstance(info, dict):
            continue
        delay = info.get("retryDelay")
        if retry_after is None and isinstance(delay, str):
            retry_after = read_retry_after({"retry-after": delay.removesuffix("s")})
        if info.get("reason") == "API_KEY_INVALID":  # which comes as 400
            status = 401
    return Refusal(status, shown(str(error.message or "")), str(error.status or ""), retry_after)


def _read(response: types.GenerateContentResponse, endpoint: str) -> Reply:
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        raise WithheldError(f"{endpoint} refused the prompt: {_blocked(feedback)}")
    if not response.candidates:
        raise UnavailableError(f"{endpoint} answered without a candidate")
    candidate = response.candidates[0]
    parts = (candidate.content.parts if candidate.content else None) or []
    text = "".join(part.text or "" for part in parts if not part.thought)
    thought = "".join(part.text or "" for part in parts if part.thought)
    reason = candidate.finish_reason.value if candidate.finish_reason else None
    finish = check_ending(reason, endpoint, said=bool(text or thought), words=candidate.finish_message or "")
    counts = response.usage_metadata
    unseen = (counts.thoughts_token_count or 0) if counts is not None and not thought else 0
    return Reply(text, finish, _usage(response), thought, unseen=unseen)


def _blocked(feedback: types.GenerateContentResponsePromptFeedback) -> str:
    reason = feedback.block_reason.value if feedback.block_reason else ""
    return ": ".join(filter(None, (reason, shown(feedback.block_reason_message or ""))))


def _usage(response: types.GenerateContentResponse) -> Usage:
    counts = response.usage_metadata
    if counts is None:
        return Usage()
    return Usage(
        counts.prompt_token_count, (counts.candidates_token_count or 0) + (counts.thoughts_token_count or 0)
    )


class GeminiModel(ApiModel[Asking]):
    """A Gemini model."""

    default_url = DEFAULT_URL
    url_variable = URL_VARIABLE
    options = GeminiOptions

    def __init__(self, settings: ModelSettings) -> None:
        options = parse_options(settings.args, GeminiOptions)
        urls = self.urls(options)
        variable = options.api_key_env or next(
            (name for name in KEY_VARIABLES if os.environ.get(name)), KEY_VARIABLES[0]
        )
        headers = read_headers(options.extra_headers)
        key = read_key(variable, needed=True)
        asked = [Asked(described(url.url, general=True), settings.model, variable) for url in urls]
        limits = ImageLimits(options.max_image_bytes or MOST_IMAGE_BYTES, options.max_image_side)
        content = ContentFormat(limits, options, Parameters(options.extra_body))
        api = GenerateContent(urls, key, asked, content, headers)
        super().__init__(settings, options, api, [url.url for url in urls])
        check_reachable(urls, options)
