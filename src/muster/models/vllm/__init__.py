"""The vllm backend: vLLM's asynchronous engine in the worker's own process.

`backend` is the story; `options` what is asked for; `engine` starts the engine;
`prompts` and `answers` are the two ends of a request; `room` how many it is given. Importing this package imports
neither torch nor vLLM; `VllmModel(settings)` does.
"""

from muster.models.registry import require
from muster.models.vllm.versions import check_version

require("vllm", "vllm")
check_version()

from muster.models.vllm.backend import VllmModel  # noqa: E402

__all__ = ["VllmModel"]
