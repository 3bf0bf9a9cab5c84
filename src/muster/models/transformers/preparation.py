"""From requests to padded tensors. Runs in the background; one bad sample fails alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from muster.core import Completion, ConfigurationError, Failure, Request, SampleError
from muster.media.decoded_video import Video
from muster.media.opening import open_prompt
from muster.models.transformers.interfaces import Inputs, Processor
from muster.models.transformers.options import VideoForm
from muster.models.transformers.prompts import PromptRenderer
from muster.models.transformers.special_tokens import marked_in
from muster.models.transformers.tokens_as_text import inputs_of

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Item = TypeVar("Item")
Made = TypeVar("Made")

MAX_PADDING = 0.5
"""The largest part of a batch's prompt tokens that may be padding; beyond it the batch is cut by length."""

NOT_FOR_GENERATION = ("labels",)
"""What some processors return for training only."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One request, ready for the processor.

    In a batch that came from the preparation process the prompt, the images and the videos have stayed there.
    """

    request: Request
    prompt: str = ""
    images: tuple[Image, ...] = ()
    videos: tuple[Video, ...] = ()
    note: str | None = None
    """What had to be changed in the request."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows with their model inputs, all with the same generation settings."""

    rows: tuple[Row, ...]
    inputs: Inputs
    prompt_tokens: tuple[int, ...]
    """Per row, without padding."""

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of some requests: batches to run, and those that failed already."""

    batches: tuple[Batch, ...]
    failures: tuple[Completion, ...]


class Preparer:
    """Decodes media, renders prompts and runs the processor. Safe to call from several threads."""

    def __init__(
        self,
        processor: Processor,
        context_limit: int | None,
        *,
        pin_memory: bool = False,
        videos: VideoForm = "auto",
    ) -> None:
        """`videos`: whether the processor gets videos or their frames as images.

        Raises `ConfigurationError` where it is to get videos and has no part for them.
        """
        if videos == "video" and getattr(processor, "video_processor", None) is None:
            raise ConfigurationError(
                "--model-args video=video: this model's processor has no part for videos, or has lost it because "
                "torchvision isn't installed"
            )
        self._processor = processor
        self._renderer = PromptRenderer(processor)
        self._context_limit = context_limit
        self._pin_memory = pin_memory
        self.takes_videos = videos == "video" or (videos == "auto" and self._renderer.takes_videos)
        # Padding is state inside a tokenizer.
        self._lock = threading.Lock()

    def prepare(self, requests: Iterable[Request]) -> Prepared:
        """Everything from a claim to tensors."""
        rows, failures = _each(requests, self._row, lambda request: request)
        prepared = self.assemble(rows)
        return Prepared(prepared.batches, (*failures, *prepared.failures))

    def batch(self, requests: Iterable[Request]) -> Batch:
        """All of them in one batch, whatever their lengths. Raises what is wrong with any."""
        return self._collate([self._row(request) for request in requests])

    def assemble(self, rows: Sequence[Row]) -> Prepared:
        """Batches of rows that can run together and are of similar length."""
        batches: list[Batch] = []
        failures: list[Completion] = []
        for group in _compatible(rows):
            usable, failed = self._batches(group)
            batches += usable
            failures += failed
        return Prepared(tuple(batches), tuple(failures))

    def _row(self, request: Request) -> Row:
        if not request.media:
            return Row(request, self._renderer.render(request.messages))
        opened = open_prompt(request.messages, takes_videos=self.takes_videos)
        prompt = self._renderer.render(opened.messages)
        images = tuple(visual for visual in opened.visuals if not isinstance(visual, Video))
        videos = tuple(visual for visual in opened.visuals if isinstance(visual, Video))
        return Row(request, prompt, images, videos, opened.note)

    def _batches(self, rows: Sequence[Row]) -> tuple[list[Batch], list[Completion]]:
        """One batch where possible. Where the processor refuses it, row by row, to find out whose fault it is."""
        if len(rows) == 1:
            return _each(rows, lambda row: self._collate([row]), lambda row: row.request)
        try:
            batch = self._collate(rows)
        except Exception:  # noqa: BLE001 - each row is tried alone, and its error recorded
            singles, failures = _each(rows, lambda row: self._collate([row]), lambda row: row.request)
            good = [row for single in singles for row in single.rows]
            if failures and len(good) > 1:
                batches, more = self._batches(good)
                return batches, failures + more
            return singles, failures
        return self._cut(batch)

    def _cut(self, batch: Batch) -> tuple[list[Batch], list[Completion]]:
        """The batch itself, or parts of it in which at most `MAX_PADDING` of the prompt tokens are padding.

        How many tokens an image becomes, only the processor knows; so lengths are known once it has run, and
        the rare batch that is cut runs through it again.
        """
        parts = similar_lengths(batch.prompt_tokens)
        if len(parts) == 1:
            return [batch], []
        batches: list[Batch] = []
        failures: list[Completion] = []
        for part in parts:
            usable, failed = self._batches([batch.rows[index] for index in part])
            batches += usable
            failures += failed
        return batches, failures

    def _collate(self, rows: Sequence[Row]) -> Batch:
        """Run the processor on rows. Raises what it raises, and `SampleError` for a prompt that is too long."""
        with self._lock:
            inputs = inputs_of(rows, self._run, self._renderer, self._processor.tokenizer)
        tensors = {name: value for name, value in inputs.items() if name not in NOT_FOR_GENERATION}
        prompt_tokens = tuple(tensors["attention_mask"].sum(dim=1).tolist())
        self._check_length(max(prompt_tokens))
        if self._pin_memory:
            tensors = {name: value.pin_memory() for name, value in tensors.items()}
        return Batch(tuple(rows), tensors, prompt_tokens)

    def _run(
        self, rows: Sequence[Row], texts: list[str], arguments: Mapping[str, object]
    ) -> MutableMapping[str, torch.Tensor]:
        return self._processor(
            text=texts,
            images=self._renderer.images_argument([row.images for row in rows]),
            padding=True,
            return_tensors="pt",
            **arguments,
            **video_arguments([video for row in rows for video in row.videos]),
        )

    def _check_length(self, tokens: int) -> None:
        if self._context_limit is not None and tokens >= self._context_limit:
            raise SampleError(
                f"the prompt has {tokens} tokens with its images; the model's context is {self._context_limit}"
            )


def similar_lengths(lengths: Sequence[int], max_padding: float = MAX_PADDING) -> list[list[int]]:
    """Cut a batch so that at most `max_padding` of each part's tokens are padding.

    Returns indices into `lengths`. A batch that is fine stays whole and in order; otherwise the parts are
    sorted, longest first.
    """
    if sum(lengths) >= (1 - max_padding) * len(lengths) * max(lengths):
        return [list(range(len(lengths)))]
    parts: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not parts or lengths[index] < (1 - max_padding) * lengths[parts[-1][0]]:
            parts.append([])
        parts[-1].append(index)
    return parts


def _compatible(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows grouped so that one call of the processor and of the model serves each group.

    A take shares its generation settings by contract, so this mostly parts questions without images from those with.
    Processors that make one tensor of all videos need equally many frames.
    """
    groups: dict[object, list[Row]] = {}
    for row in rows:
        frames = tuple(len(video.indices) for video in row.videos)
        marked = bool(marked_in(row.prompt))
        request = row.request
        kind = (request.generation, bool(request.continuations), bool(row.images), frames, marked)
        groups.setdefault(kind, []).append(row)
    return list(groups.values())


def video_arguments(videos: Sequence[Video]) -> dict[str, object]:
    """What a processor takes of videos: frames, not to be chosen from again, and what tells their times."""
    if not videos:
        return {}
    return {
        "videos": [video.pixels for video in videos],
        "video_metadata": [video_metadata(video) for video in videos],
        "do_sample_frames": False,
    }


def video_metadata(video: Video) -> dict[str, object]:
    """The arguments of transformers' `VideoMetadata`."""
    return {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.duration,
        "width": video.size.width,
        "height": video.size.height,
        "frames_indices": list(video.indices),
    }


def _each(
    items: Iterable[Item], make: Callable[[Item], Made], request_of: Callable[[Item], Request]
) -> tuple[list[Made], list[Completion]]:
    """Make something of each item; what raises becomes that request's failure."""
    made: list[Made] = []
    failures: list[Completion] = []
    for item in items:
        try:
            made.append(make(item))
        except Exception as error:  # noqa: BLE001 - the boundary that turns it into a record
            failures.append(Completion(request_of(item).key, failure=Failure.from_exception(error)))
    return made, failures
