"""From requests to prompts as vLLM takes them: the same text as the transformers backend's, and decoded images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from muster.core import Media, Request, SampleError
from muster.media.images import describe, load_image
from muster.models.api.prompts import check_images
from muster.models.transformers.interfaces import Processor
from muster.models.transformers.prompts import PromptRenderer

if TYPE_CHECKING:
    from PIL.Image import Image


class Prompt(NamedTuple):
    """What the engine's renderer is given."""

    text: str
    """With one placeholder of the model's own where each image goes."""
    images: tuple[Image, ...]
    identities: tuple[str, ...]
    """One per image, the same for the same image: by these vLLM knows what it has in its caches."""
    add_special_tokens: bool
    """Whether the tokenizer still has to add BOS."""


class Prompts:
    """Makes prompts. Called from several threads."""

    def __init__(self, processor: Processor, max_images: int | None) -> None:
        self._renderer = PromptRenderer(processor)
        self._max_images = max_images

    def make(self, request: Request) -> Prompt:
        """The prompt of a request.

        Raises:
            SampleError: it has videos or too many images, an image can't be decoded, the chat template refuses it.
        """
        check_images(request, self._max_images)
        for media in request.media:
            _check_kind(media)
        text = self._renderer.render(request.messages)
        images = tuple(load_image(media) for media in request.media)
        identities = tuple(media.identity for media in request.media)
        return Prompt(text, images, identities, self._renderer.adds_special_tokens(text))


def _check_kind(media: Media) -> None:
    # A video is to become frames in `make`, by what all backends share for that, and `multi_modal_data["video"]` in
    # `engine`.
    if media.kind == "video":
        raise SampleError(f"{describe(media)}: the vllm backend doesn't take videos yet")
