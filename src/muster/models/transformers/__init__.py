"""The transformers backend: any vision-language model that the Auto classes load.

Read `backend` for the story, `preparation` for what happens before the device, `generation` for what happens on it.
Importing this package imports neither torch nor transformers; `TransformersModel(settings)` does.
"""

from muster.models.registry import require

require("transformers", "torch", "transformers")

from muster.models.transformers.backend import TransformersModel  # noqa: E402

__all__ = ["TransformersModel"]
