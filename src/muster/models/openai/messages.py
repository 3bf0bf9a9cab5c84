"""A request as the body of `POST /chat/completions`.

Format: OpenAI's API reference, Chat Completions, which vLLM, SGLang, llama.cpp and transformers serve follow. `top_k`
and `video_url` are vLLM's and SGLang's.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from muster.core import JSON, Generation, Media, Message, Part, Request
from muster.media.images import describe
from muster.models.api.images import ImageLimits, encode_image
from muster.models.api.options import with_extra
from muster.models.api.parameters import Parameters
from muster.models.api.prompts import check_images, read_video, seed_of
from muster.models.api.protocol import Prepared
from muster.models.api.videos import Framed, check_whole, with_frames

MOST_STOPS = 4
"""OpenAI's limit; the rest is cut off here."""

LimitField = Literal["max_tokens", "max_completion_tokens"]
Video = Literal["frames", "video_url"]
"""Videos as images, or as the files they are, for servers that choose frames themselves."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """What a server is asked, beside the request itself."""

    model: str
    limit_field: LimitField = "max_tokens"
    image_limits: ImageLimits = field(default_factory=ImageLimits)
    max_images: int | None = None
    image_urls: bool = False
    video: Video = "frames"
    extra_body: Mapping[str, JSON] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=Parameters)

    def body(self, request: Request) -> Prepared[bytes]:
        """The request as JSON, and what was done to its images.

        Raises:
            SampleError: more images than the server takes, an image or a video that can't be read.
        """
        request, note = with_frames(request) if self.video == "frames" else Framed(request)
        check_images(request, self.max_images)
        notes = [note] if note else []
        content: dict[str, JSON] = {
            "model": self.model,
            "messages": [self._message(message, notes) for message in request.messages],
            self.limit_field: request.generation.max_new_tokens,
            **_sampling(request),
        }
        if left_out := self.parameters.left_out(content):
            notes.append(left_out)
        body = with_extra(self.parameters.kept(content), self.extra_body)
        return Prepared(_encode(body), "; ".join(notes) or None)

    def _message(self, message: Message, notes: list[str]) -> dict[str, JSON]:
        if not any(part.media for part in message.parts):
            return {
                "role": message.role,
                "content": message.text,
            }  # what servers of text models understand too
        return {"role": message.role, "content": [self._part(part, notes) for part in message.parts]}

    def _part(self, part: Part, notes: list[str]) -> JSON:
        media = part.media
        if media is None:
            return {"type": "text", "text": part.text or ""}
        if media.kind == "video":
            return {"type": "video_url", "video_url": {"url": self._video(media)}}
        if media.url is not None and self.image_urls:
            return {"type": "image_url", "image_url": {"url": media.url}}
        image = encode_image(media, self.image_limits)
        if image.note:
            notes.append(f"{describe(media)}: {image.note}")
        return {"type": "image_url", "image_url": {"url": image.data_uri}}

    def _video(self, media: Media) -> str:
        check_whole(media)
        if media.url is not None:
            return media.url
        media_type, data = read_video(media)
        return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _sampling(request: Request) -> dict[str, JSON]:
    generation: Generation = request.generation
    settings: dict[str, JSON] = {"temperature": generation.temperature}
    if generation.temperature > 0:
        settings["seed"] = seed_of(request)
        if generation.top_p < 1:
            settings["top_p"] = generation.top_p
        if generation.top_k is not None:
            settings["top_k"] = generation.top_k
    if generation.stop:
        settings["stop"] = list(generation.stop[:MOST_STOPS])
    return settings
