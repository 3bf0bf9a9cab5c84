"""Muster evaluates vision-language models on image and video benchmarks, on one process or thousands of GPUs.

`muster.evaluate("demo", ["digits"])` is `muster run --model demo --tasks digits`.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # what typing has, which a user's typing.py in the working directory could still shadow here
)
if TYPE_CHECKING:
    from muster.run import evaluate as evaluate

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate"]


def __getattr__(name: str) -> object:
    if name == "evaluate":
        from muster.run import evaluate

        return evaluate
    raise AttributeError(f"module 'muster' has no attribute {name!r}")
