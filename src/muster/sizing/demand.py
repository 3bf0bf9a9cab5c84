"""What a replica will be asked: how long prompts and answers get, and how many image patches they bring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from muster.core import Media, Request, SampleError
from muster.media.images import image_size
from muster.scheduling.cost import FRAME_TOKENS, frames_shown
from muster.sizing.image_grids import ImageSize
from muster.sizing.image_tokens import ImageCost, ImageRule
from muster.sizing.memory import Demand
from muster.tasks.plan import PlannedTask

TEXT_TOKENS = 512
"""A question with its choices, where no task says how long it is."""
ANSWER_TOKENS = 512
CHARACTERS_PER_TOKEN = 3.0
"""Fewer than on average, because the longest prompt has to fit."""
TEMPLATE_TOKENS = 64
"""A chat template's own."""


@dataclass(frozen=True, slots=True)
class Assumption:
    """A demand, and what it was taken from."""

    demand: Demand
    because: str


def assumed_demand(
    rule: ImageRule,
    *,
    batch: int = 1,
    answer: int | None = None,
    context: int | None = None,
    image: ImageSize | None = None,
    limit: int | None = None,
) -> Assumption:
    """One image of the size that takes the most tokens (or `image`), 512 tokens of text and 512 of answer.

    `context`: tokens of prompt and answer together, instead. `limit`: the model's own; nothing is longer.
    """
    cost = rule.cost(image) if image else rule.most
    new = min(ANSWER_TOKENS, (limit or ANSWER_TOKENS * 2) // 2) if answer is None else answer
    prompt = cost.tokens + TEXT_TOKENS
    size = image or rule.largest
    because = f"an image of {size.width}×{size.height} ({cost.tokens:,} tokens), {TEXT_TOKENS} tokens of text"
    if context is not None:
        prompt, because = max(context - new, 1), f"a context of {context:,} tokens"
    elif limit is not None and prompt + new > limit > new:
        prompt, because = limit - new, f"{because}, cut to the model's context of {limit:,}"
    return Assumption(Demand(batch, prompt, new, cost.patches), because)


def demand_of_tasks(planned: Sequence[PlannedTask], rule: ImageRule, *, batch: int = 1) -> Assumption:
    """The longest prompt, the longest answer and the most patches of the tasks' requests."""
    prompt = patches = answer = 0
    for request in _requests(planned):
        costs = [media_cost(media, rule) for media in request.media]
        text = request.text_length / CHARACTERS_PER_TOKEN + TEMPLATE_TOKENS
        prompt = max(prompt, int(text) + sum(cost.tokens for cost in costs))
        patches = max(patches, sum(cost.patches for cost in costs))
        answer = max(answer, request.generation.max_new_tokens)
    names = ", ".join(task.task.name for task in planned)
    return Assumption(Demand(batch, max(prompt, 1), answer, patches), f"the longest prompt of {names}")


def _requests(planned: Sequence[PlannedTask]) -> Iterator[Request]:
    for task in planned:
        yield from task.requests()


def media_cost(media: Media, rule: ImageRule) -> ImageCost:
    """Tokens and patches of one image by its real size; the most there can be where that isn't at hand."""
    if media.kind == "video":
        tokens = FRAME_TOKENS * frames_shown(media)
        return ImageCost(tokens, 4 * tokens)
    try:
        size = image_size(media)
    except SampleError:
        return rule.most
    return rule.cost(ImageSize(*size))
