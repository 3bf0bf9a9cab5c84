"""The openai backend: any server that speaks OpenAI's chat completions.

`backend` names the model arguments, `messages` makes the request's body, `http` sends it, `replies` reads the answer;
how much is asked at once, retries and time-outs are in `muster.models.api`.
"""

from muster.models.registry import require

require("openai", "aiohttp")

from muster.models.openai.backend import OpenAIModel  # noqa: E402

__all__ = ["OpenAIModel"]
