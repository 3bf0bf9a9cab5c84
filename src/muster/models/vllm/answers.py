"""Generation settings as vLLM's sampling parameters, and its outputs as completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from muster.core import Completion, Request, TransientError, Usage
from muster.core.likelihood import Likelihood, as_text
from muster.models.api.prompts import seed_of

KEPT_OF_MODEL = ("repetition_penalty",)
"""Of a model's generation config. Sampling and length the task decides, and end tokens vLLM reads itself."""


LIKELIHOOD: Mapping[str, object] = {
    "max_tokens": 1,  # as few as vLLM allows; it isn't looked at
    "temperature": 0.0,
    "prompt_logprobs": 0,  # of the prompt's own tokens alone
    # vLLM does so by itself: what its cache has of a prompt has no probabilities.
    "skip_reading_prefix_cache": True,
}
"""The arguments of `SamplingParams` that have a prompt's tokens weighed."""


class Logprob(Protocol):
    """What is used of vLLM's `Logprob`."""

    logprob: float
    """Natural logarithm, before temperature and the like."""
    rank: int | None
    """Among all tokens in this place, from 1."""


class CompletionOutput(Protocol):
    """What is used of vLLM's `CompletionOutput`."""

    text: str
    token_ids: Sequence[int]
    finish_reason: str | None


class RequestOutput(Protocol):
    """What is used of vLLM's `RequestOutput`."""

    prompt_token_ids: Sequence[int] | None
    prompt_logprobs: Sequence[Mapping[int, Logprob] | None] | None
    """Of each token of the prompt but the first, where they were asked for."""
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
    answer = _finished(output)
    prompt_tokens = len(output.prompt_token_ids) if output.prompt_token_ids is not None else None
    return Completion(
        request.key,
        text=answer.text,
        usage=Usage(prompt_tokens, len(answer.token_ids)),
        seconds=seconds,
        finish_reason=answer.finish_reason,
        note=note,
    )


def likelihood_of(output: RequestOutput, tokens: Sequence[int]) -> Likelihood:
    """How likely the last tokens of a finished output's prompt are, each after those before it.

    Raises `TransientError` where the engine gave the request up.
    """
    _finished(output)
    assert output.prompt_logprobs is not None
    found = [
        (place or {})[token]
        for place, token in zip(output.prompt_logprobs[-len(tokens) :], tokens, strict=True)
    ]
    return Likelihood(sum(each.logprob for each in found), len(tokens), all(each.rank == 1 for each in found))


def likelihoods_as_completion(
    request: Request,
    found: Sequence[Likelihood],
    prompt_tokens: int | None,
    seconds: float,
    note: str | None = None,
) -> Completion:
    """The completion of a request that asks how likely its continuations are."""
    return Completion(
        request.key,
        text=as_text(found),
        usage=Usage(prompt_tokens, sum(each.tokens for each in found)),
        seconds=seconds,
        finish_reason="stop",
        note=note,
    )


def _finished(output: RequestOutput) -> CompletionOutput:
    answer = output.outputs[0]
    if answer.finish_reason in (None, "abort", "error"):
        raise TransientError(f"vLLM gave the request up ({answer.finish_reason})")
    return answer
