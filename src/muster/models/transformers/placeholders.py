"""What stands for an image in a processor's texts, if anything has to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from muster.models.transformers.interfaces import Processor
from muster.models.transformers.quiet import quiet

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

log = logging.getLogger(__name__)

PROBE = "probe"


def image_token(processor: Processor) -> str | None:
    """The text that a processor names for an image; None where it names none (BLIP, GIT)."""
    for holder in (processor, processor.tokenizer):
        token = getattr(holder, "image_token", None)
        if token is not None:
            return str(token)  # BLIP-2 has one as tokenizers write it
    return None


class Layout(NamedTuple):
    """How a processor takes text and images that no chat template has put together."""

    placeholder: str = ""
    """What to write where an image goes; empty for nothing."""
    one_image_bare: bool = False
    """Whether the image of a text with one has to come without a list around it."""


def layout_of(processor: Processor) -> Layout:
    """What a processor wants, found out by asking it about a small image.

    No placeholder where it names none (BLIP, GIT), or puts its own in front of every text and takes none (BLIP-2,
    Florence-2, Fuyu). IDEFICS puts images that come in lists behind the text, and a bare one in front of it; GOT-OCR2
    refuses lists.
    """
    with quiet():
        token = _placeholder(processor)
        bare = _ids(processor, token + PROBE, listed=False)
        return Layout(token, bare is not None and bare != _ids(processor, token + PROBE))


def _placeholder(processor: Processor) -> str:
    token = image_token(processor)
    if token is None:
        return ""
    without = _ids(processor, PROBE)
    if without is None or not _has_images(processor, without):
        return token
    return token if _ids(processor, token + PROBE) == without else ""


def _has_images(processor: Processor, ids: list[int]) -> bool:
    """Whether there is more in a prompt than its text: placeholders for an image."""
    text = _ids(processor, PROBE, with_image=False)
    return len(ids) > len(text) if text is not None else True


def _ids(
    processor: Processor, text: str, *, with_image: bool = True, listed: bool = True
) -> list[int] | None:
    """The prompt's token ids; None where the processor refuses it."""
    images: Sequence[PilImage] | Sequence[Sequence[PilImage]] = [[_image()]] if listed else [_image()]
    try:
        inputs = processor(text=[text], images=images if with_image else None, return_tensors="pt")
        return [int(token) for token in inputs["input_ids"][0]]
    except Exception as error:  # noqa: BLE001 - processors raise as they like for what they don't take
        log.debug("the processor refuses %r: %s", text, error)
        return None


def _image() -> PilImage:
    from PIL import Image

    return Image.new("RGB", (64, 64), (127, 127, 127))
