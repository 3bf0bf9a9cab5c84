"""As vLLM's module of this name."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vllm.config import ModelConfig, SchedulerConfig, VllmConfig


@dataclass
class AsyncEngineArgs:
    model: str = ""
    seed: int = 0
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    distributed_executor_backend: str | None = None
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enable_prefix_caching: bool | None = None
    disable_log_stats: bool = False
    dtype: str = "auto"
    ends_with: int | None = None
    limit_mm_per_prompt: dict[str, int] = field(default_factory=dict)
    mm_processor_kwargs: dict[str, Any] | None = None

    def create_engine_config(self) -> VllmConfig:
        if "FAKE_VLLM_RECORD" in os.environ:
            Path(os.environ["FAKE_VLLM_RECORD"]).write_text(json.dumps(asdict(self)))
        if self.dtype == "nonsense":
            raise ValueError("Unknown dtype: nonsense")
        context = 256 if self.max_model_len in (None, -1) else int(self.max_model_len or 0)
        return VllmConfig(ModelConfig(context), SchedulerConfig(self.max_num_seqs or 16), self.ends_with)
