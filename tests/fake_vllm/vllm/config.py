"""The parts of vLLM's configuration that are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ModelConfig:
    max_model_len: int

    def get_diff_sampling_param(self) -> dict[str, object]:
        return {"repetition_penalty": 1.1, "temperature": 0.9, "max_tokens": 3}


@dataclass
class SchedulerConfig:
    max_num_seqs: int


@dataclass
class VllmConfig:
    model_config: ModelConfig
    scheduler_config: SchedulerConfig
    ends_with: int | None = None
    """The exit status of an engine that doesn't start."""
