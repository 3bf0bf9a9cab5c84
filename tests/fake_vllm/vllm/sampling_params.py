"""As vLLM's module of this name."""

from __future__ import annotations

import enum


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    FINAL_ONLY = 2


class SamplingParams:
    KNOWN = frozenset(
        {"max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "repetition_penalty", "output_kind"}
        | {"prompt_logprobs", "skip_reading_prefix_cache"}
    )

    def __init__(self, **settings: object) -> None:
        if unknown := settings.keys() - self.KNOWN:
            raise TypeError(f"unexpected {unknown}")
        self.settings = settings
