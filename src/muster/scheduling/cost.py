"""What a request will cost, in units of one generated token, before anybody has answered it.

Only the order and the rough size matter: scheduling stays within a few percent of the optimum with
predictions off by half (benchmarks/balance_simulated.py). So the constants are round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from muster.core import Completion, Generation, Media, Request, RequestKey

CHARACTERS_PER_TOKEN = 4.0
"""English prose in the tokenizers of current models; other scripts have fewer characters per token."""

PREFILL_COST = 1 / 20
"""A prompt token against a generated one. Prefill is bound by arithmetic and decoding by memory bandwidth; for
7B to 70B models on one GPU, decoding in batches of 8 to 64, a prompt token takes 1/10 to 1/50 of the time."""

IMAGE_TOKENS = 576
"""LLaVA-1.5 at 336×336: 24×24 patches. Where nothing is known of an image's size."""
IMAGE_TOKEN_LIMITS = (64, 4096)
"""A SmolVLM tile has 64; 12 InternVL tiles 3,328; tiling models and Qwen-VL's processor stop near 4,000."""
FRAME_TOKENS = 256
"""Of a video: InternVL's, and about what Qwen-VL and LLaVA-OneVision make of one."""
USUAL_FRAMES = 32
"""Where it depends on the video's length how many are shown."""
BYTES_PER_IMAGE_TOKEN = 200.0
"""A token covers about 28×28 pixels (Qwen2-VL, InternVL); JPEG takes about 0.25 bytes for a pixel."""


def predict(request: Request, history: float | None = None) -> float:
    """Predicted cost in units of one generated token, greater than zero.

    `history`: completion tokens that the same sample took in an earlier run, by whatever model; the best
    predictor there is. Without it, the generation limit has to do.
    """
    prompt = 0.0
    for message in request.messages:
        for part in message.parts:
            if part.media is not None:
                prompt += media_tokens(part.media)
            else:
                prompt += len(part.text or "") / CHARACTERS_PER_TOKEN
    answer = expected_tokens(request.generation) if history is None else max(history, 1.0)
    return answer + PREFILL_COST * prompt


def expected_tokens(generation: Generation) -> float:
    """Tokens of an answer of which only the limit is known.

    Limits are set far above what answers need, and the more so the larger they are: short ones (a letter, a
    word) are nearly used up, of 1,024 an answer uses a hundred or two. Grows with the limit, so the order
    between tasks is that of their limits.
    """
    return float(max(1, min(generation.max_new_tokens, 4.0 * math.sqrt(generation.max_new_tokens))))


def media_tokens(media: Media) -> float:
    """Tokens that an image or video puts into the prompt, by its encoded size where that is at hand."""
    if media.kind == "video":
        return FRAME_TOKENS * frames_shown(media)
    if not media.size_hint:
        return IMAGE_TOKENS
    low, high = IMAGE_TOKEN_LIMITS
    return min(max(media.size_hint / BYTES_PER_IMAGE_TOKEN, low), high)


def frames_shown(media: Media) -> int:
    """How many frames of a video are shown, as far as that can be told without opening it."""
    shown = media.shown
    return (shown and (shown.frames or (shown.fps and shown.max_frames))) or USUAL_FRAMES


class TokenHistory:
    """Completion tokens seen so far: per sample where it was answered before, else the mean of its task."""

    def __init__(self, completions: Iterable[Completion] = ()) -> None:
        self._samples: dict[tuple[str, str], tuple[float, int]] = {}
        self._tasks: dict[str, tuple[float, int]] = {}
        for completion in completions:
            self.add(completion)

    def add(self, completion: Completion) -> None:
        """Learn from an answer; failures and answers of unknown length teach nothing."""
        if completion.succeeded:
            self.learn(completion.key, completion.usage.completion_tokens)

    def learn(self, key: RequestKey, tokens: int | None) -> None:
        """The same of an answer of which no more is known."""
        if tokens is None:
            return
        task, sample = key.task, (key.task, key.sample_id)
        total, count = self._samples.get(sample, (0.0, 0))
        self._samples[sample] = (total + tokens, count + 1)
        total, count = self._tasks.get(task, (0.0, 0))
        self._tasks[task] = (total + tokens, count + 1)

    def expected(self, key: RequestKey) -> float | None:
        """Mean tokens of the sample's answers (any repeat), else of its task's, else None: for `predict`."""
        total, count = self._samples.get((key.task, key.sample_id)) or self._tasks.get(key.task) or (0.0, 0)
        return total / count if count else None
