"""A stand-in for vLLM at the boundary that Muster's backend uses, for tests without it.

Its engine is a process of its own that does nothing, whose death is the engine's. What it was asked is kept in `asked`,
how it answers is said in `behaviour`.
"""

from __future__ import annotations

from vllm.sampling_params import SamplingParams

__all__ = ["SamplingParams"]
