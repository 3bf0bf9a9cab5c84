"""Generation settings as vLLM's sampling parameters, and its outputs as completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from muster.core import Completion, Request, TransientError, Usage
from muster.models.api.prompts import seed_of

KEPT_OF_MODEL = ("repetition_penalty",)
"""Of a model's generation config. Sampling and length the task decides, and end tokens vLLM reads itself."""


class CompletionOutput(Protocol):
    """What is used of vLLM's `CompletionOutput`."""

    text: str
    token_ids: Sequence[int]
    finish_reason: str | None


class RequestOutput(Protocol):
    """What is used of vLLM's `RequestOutput`."""

    prompt_token_ids: Sequence[int] | None
    outputs: Sequence[CompletionOutput]


def sampling_arguments(request: Request, of_model: Mapping[str, object]) -> dict[str, object]:
    """The arguments of `SamplingParams`. `of_model`: what the model's generation config says.

    A sampled answer depends on the generation seed and the request's name: each has a random generator of its own.
    """
    generation = request.generation
    arguments: dict[str, object] = {
        **{name: of_model[name] for name in KEPT_OF_MODEL if name in of_model},
        "max_tokens": generation.max_new_tokens,
        "temperature": generation.temperature,
    }
    if generation.stop:
        arguments["stop"] = list(generation.stop)
    if generation.temperature > 0:
        arguments["seed"] = seed_of(request)
        arguments["top_p"] = generation.top_p
        if generation.top_k:
            arguments["top_k"] = generation.top_k
    return arguments


def completion_of(
    request: Request, output: RequestOutput, seconds: float, note: str | None = None
) -> Completion:
    """The completion in a finished output. Raises `TransientError` where the engine gave the request up."""
    answer = output.outputs[0]
    if answer.finish_reason in (None, "abort", "error"):
        raise TransientError(f"vLLM gave the request up ({answer.finish_reason})")
    prompt_tokens = len(output.prompt_token_ids) if output.prompt_token_ids is not None else None
    return Completion(
        request.key,
        text=answer.text,
        usage=Usage(prompt_tokens, len(answer.token_ids)),
        seconds=seconds,
        finish_reason=answer.finish_reason,
        note=note,
    )
