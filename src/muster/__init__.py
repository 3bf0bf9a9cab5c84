"""Muster evaluates vision-language models on image and video benchmarks, on one process or thousands of GPUs.

`muster.evaluate("demo", ["digits"])` is `muster run --model demo --tasks digits`; `muster.load("runs/one")` has a run's
scores, samples and journal as data frames.
"""

from __future__ import annotations

TYPE_CHECKING = (
    False  # what typing has, which a user's typing.py in the working directory could still shadow here
)
if TYPE_CHECKING:
    from muster.export.loaded import load as load
    from muster.python_api import evaluate as evaluate

__version__ = "0.1.0"
__all__ = ["__version__", "evaluate", "load"]


def __getattr__(name: str) -> object:
    if name == "evaluate":
        from muster.python_api import evaluate

        return evaluate
    if name == "load":
        from muster.export.loaded import load

        return load
    raise AttributeError(f"module 'muster' has no attribute {name!r}")
