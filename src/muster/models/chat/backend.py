"""The backend's story: decode and tile the next question's images in the background, chat about this one's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muster.core import (
    Completion,
    Failure,
    Generation,
    ReplicaError,
    Request,
    SampleError,
    TransientError,
    Usage,
    VideoSettings,
)
from muster.media import load_image
from muster.media.decoded_video import Video
from muster.media.opening import frame_sequence, said_in
from muster.media.video import load_video
from muster.models.chat.options import chat_options, check_settings
from muster.models.chat.questions import IMAGE, Question, question_of
from muster.models.fetch import fetch_model
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.seeding import request_seed
from muster.models.transformers.device_errors import classify
from muster.models.transformers.internals import need
from muster.models.transformers.prefetch import OneAhead

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from muster.models.chat.loading import ChatCapable, GenerationConfig

SEED_BITS = 63


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A question with its tiles, on the host."""

    request: Request
    question: Question
    pixel_values: torch.Tensor | None
    """(tiles of all images, 3, size, size), float32."""
    num_patches_list: list[int]
    """Tiles per image."""


class ChatModel:
    """One replica of a model with a `chat` like InternVL's; it answers one question at a time.

    Greedy by default; before a sampled answer torch's random state is set from the generation seed and the request.
    """

    models: ModelKind = "checkpoint"
    videos = "frames"
    check = staticmethod(check_settings)

    def __init__(self, settings: ModelSettings) -> None:
        self.check(settings)  # before anything of the model is touched
        options = chat_options(settings.args)
        folder = fetch_model(settings.model, options.loading.revision)
        need("models with a chat method")
        from muster.models.chat.loading import load

        self._loaded = load(folder, options, gpus=settings.gpus_per_replica)
        self._overrides = dict(options.loading.generation)

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer one by one. Raises `ReplicaError` when the device is broken."""

        def prepare(claimed: list[Request]) -> Prepared | Completion:
            return self._prepare(claimed[0])

        with OneAhead(lambda: requests.take(1) or None, prepare, "muster-prepare") as ahead:
            for prepared in ahead:
                yield self._answer(prepared) if isinstance(prepared, Prepared) else prepared

    def _prepare(self, request: Request) -> Prepared | Completion:
        from muster.models.chat.tiling import pixel_values

        try:
            videos = [load_video(media) for media in request.media if media.kind == "video"]
            shown = [media.shown or VideoSettings() for media in request.media if media.kind == "video"]
            question = question_of(
                request.messages,
                list(map(_video_text, videos, shown)),
                getattr(self._loaded.tokenizer, "all_special_tokens", ()),
            )
            tiles = self._tiles(question, videos)
            self._check_takes(question, len(tiles))
            self._check_length(question, sum(map(len, tiles)))
            pixels = pixel_values([tile for image in tiles for tile in image]) if tiles else None
            return Prepared(request, question, pixels, list(map(len, tiles)))
        except Exception as error:  # noqa: BLE001 - the boundary that turns it into a record
            return Completion(request.key, failure=Failure.from_exception(error))

    def _tiles(self, question: Question, videos: Sequence[Video]) -> list[list[Image]]:
        """The tiles of each `<image>`: of an image as many as it needs, of a frame one."""
        opened = iter(videos)
        tiles: list[list[Image]] = []
        for media in question.media:
            if media.kind == "image":
                tiles.append(self._loaded.tiling.tiles(load_image(media)))
            else:
                tiles += [[self._loaded.tiling.single(frame)] for frame in next(opened).images()]
        return tiles

    def _check_takes(self, question: Question, images: int) -> None:
        parameters = self._loaded.parameters
        if images > 1 and "num_patches_list" not in parameters:
            raise SampleError("this model's chat method takes one image (it has no num_patches_list)")
        if question.history and "history" not in parameters:
            raise SampleError("this model's chat method takes one question (it has no history)")
        if question.system is not None and not hasattr(self._loaded.model, "system_message"):
            raise SampleError("this model takes no system message (it has no system_message)")

    def _check_length(self, question: Question, tiles: int) -> None:
        """Refuse what can't fit. The template's own words, a few tokens, aren't known here."""
        limit = self._loaded.context_limit
        if limit is None:
            return
        text = "".join(
            [question.system or "", *(part for turn in question.history for part in turn), question.text]
        )
        tokens = self._tokens(text) + tiles * getattr(self._loaded.model, "num_image_token", 0)
        if tokens >= limit:
            raise SampleError(
                f"the prompt has {tokens} tokens with its {tiles} tiles; the model's context is {limit} "
                "(--model-args max_num=N makes fewer tiles)"
            )

    def _answer(self, prepared: Prepared) -> Completion:
        key = prepared.request.key
        started = time.perf_counter()
        try:
            text = self._chat(prepared)
        except Exception as error:
            meaning = classify(error)
            if meaning == "broken device":
                raise ReplicaError(f"the device failed: {error}") from error
            if meaning == "out of memory":
                _release_memory()
                error = TransientError(f"out of memory with {sum(prepared.num_patches_list)} tiles: {error}")
            return Completion(key, failure=Failure.from_exception(error))
        seconds = time.perf_counter() - started
        # Of the text: what the device made isn't told, and broken characters count several times.
        tokens = min(self._tokens(text), prepared.request.generation.max_new_tokens)
        cut = min(
            (place for stop in prepared.request.generation.stop if (place := text.find(stop)) >= 0),
            default=None,
        )
        return Completion(key, text[:cut], usage=Usage(None, tokens), seconds=seconds)

    def _chat(self, prepared: Prepared) -> str:
        import torch

        loaded, question, pixels = self._loaded, prepared.question, prepared.pixel_values
        model = loaded.model
        generation = prepared.request.generation
        more: dict[str, object] = {}
        if "num_patches_list" in loaded.parameters:
            more["num_patches_list"] = prepared.num_patches_list
        if question.history:
            more["history"] = [tuple(turn) for turn in question.history]
        if pixels is not None:
            pixels = pixels.to(model.device, model.dtype)
        if generation.temperature > 0:
            torch.manual_seed(request_seed(generation.seed, prepared.request.key) >> (64 - SEED_BITS))
        with torch.inference_mode(), _system_message(model, question.system):
            answer = model.chat(
                loaded.tokenizer,
                pixels,
                question.text,
                generation_config(generation) | self._overrides,
                **more,
            )
        if not isinstance(answer, str):
            raise SampleError(f"the model's chat method returned no text but a {type(answer).__name__}")
        return answer

    def _tokens(self, text: str) -> int:
        return len(self._loaded.tokenizer.encode(text, add_special_tokens=False))


def _video_text(video: Video, settings: VideoSettings) -> str:
    """The frames' marks, as InternVL was trained on them, and the subtitles."""
    pieces = frame_sequence(video, settings, "internvl")
    return "".join(IMAGE if isinstance(piece, int) else piece for piece in pieces) + said_in(video, settings)


def generation_config(generation: Generation) -> GenerationConfig:
    """The request's settings in the form that `chat` hands to `generate`."""
    if generation.temperature <= 0:
        return {"max_new_tokens": generation.max_new_tokens, "do_sample": False, "num_beams": 1}
    return {
        "max_new_tokens": generation.max_new_tokens,
        "do_sample": True,
        "num_beams": 1,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "top_k": generation.top_k or 0,  # which is off; None would be transformers' 50
    }


@contextmanager
def _system_message(model: ChatCapable, system: str | None) -> Iterator[None]:
    """Give the model another system message for the time of one question."""
    if system is None:
        yield
        return
    before = model.system_message
    model.system_message = system
    try:
        yield
    finally:
        model.system_message = before


def _release_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
