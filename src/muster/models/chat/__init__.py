"""The chat backend: models whose own code answers, through `model.chat(tokenizer, pixel_values, question, …)`.

InternVL and its kin. `loading` finds and runs that code, only where the user trusts it; `tiling` cuts images into tiles
as InternVL's reference does; `questions` turns messages into the question and history that `chat` takes.
Importing this package imports neither torch nor transformers; `ChatModel(settings)` does.
"""

from muster.models.registry import require

require("transformers", "torch", "transformers")

from muster.models.chat.backend import ChatModel  # noqa: E402

__all__ = ["ChatModel"]
