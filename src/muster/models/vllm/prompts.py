"""From requests to prompts as vLLM takes them: the same text as the transformers backend's, and decoded media."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from muster.core import Request
from muster.core.likelihood import check_tokens
from muster.media.decoded_video import Video
from muster.media.opening import open_prompt
from muster.models.api.prompts import check_images
from muster.models.transformers.prompts import PromptRenderer

if TYPE_CHECKING:
    from PIL.Image import Image


class Prompt(NamedTuple):
    """What the engine's renderer is given."""

    text: str
    """With one placeholder of the model's own where each image or video goes."""
    images: tuple[Image, ...]
    identities: tuple[str | None, ...]
    """One per image, the same for the same image: by these vLLM knows what it has in its caches. None: by its pixels,
    which for a video's frames say more than the file's name."""
    videos: tuple[Video, ...]
    add_special_tokens: bool
    """Whether the tokenizer still has to add BOS."""
    note: str | None
    """What had to be changed in the request."""
    continuation: tuple[int, ...] = ()
    """Tokens that follow it, of which it is asked how likely they are."""


class Prompts:
    """Makes prompts. Called from several threads."""

    def __init__(self, renderer: PromptRenderer, max_images: int | None, *, takes_videos: bool) -> None:
        """`takes_videos`: whether the engine gets videos as they are; else their frames are images."""
        self._renderer, self._max_images, self._takes_videos = renderer, max_images, takes_videos

    def continuations(self, request: Request) -> list[tuple[int, ...]]:
        """The tokens of each of a request's continuations, by themselves, as the transformers backend has them.

        Not for several threads. Raises `SampleError` for one without tokens.
        """
        found = [self._renderer.tokens_of(text) for text in request.continuations]
        check_tokens(found)
        return [tuple(tokens) for tokens in found]

    def make(self, request: Request) -> Prompt:
        """The prompt of a request.

        Raises:
            SampleError: it has too many images, frames among them, one can't be decoded, or the chat template refuses.
        """
        check_images(request, self._max_images)  # before anything is decoded
        opened = open_prompt(request.messages, takes_videos=self._takes_videos)
        shown = replace(request, messages=opened.messages)
        check_images(shown, self._max_images)
        text = self._renderer.render(opened.messages)
        known = {id(media) for media in request.media}  # frames are media too, but not of the request
        return Prompt(
            text,
            tuple(visual for visual in opened.visuals if not isinstance(visual, Video)),
            tuple(
                media.pixels_identity if id(media) in known else None
                for media in shown.media
                if media.kind == "image"
            ),
            tuple(visual for visual in opened.visuals if isinstance(visual, Video)),
            self._renderer.adds_special_tokens(text),
            opened.note,
        )
