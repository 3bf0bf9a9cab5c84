"""`muster.evaluate`: a run from Python, with a model that is loaded for it or one that is here already."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, overload

from muster.config import load_config
from muster.core import ConfigurationError
from muster.models.registry import require
from muster.report.display import Silent
from muster.results.results import Results
from muster.run import run


@overload
def evaluate(model: str | os.PathLike[str], tasks: str | Sequence[str], **options: object) -> Results: ...


@overload
def evaluate(
    model: object,
    tasks: str | Sequence[str],
    processor: object,
    *,
    overwrite: bool = False,
    **options: object,
) -> Results: ...


def evaluate(
    model: object,
    tasks: str | Sequence[str],
    processor: object | None = None,
    *,
    overwrite: Any = False,
    **options: object,
) -> Results:
    """Evaluate a model on tasks: one that is loaded for it, or one that is here already, even in training.

    `muster.evaluate("demo", ["digits"], output="runs/one", replicas=2).tasks["digits_read"].metrics`
    `muster.evaluate(model, ["digits"], processor, output=f"evals/step-{step}", limit=100)`

    Args:
        model: a folder, a hub id or whatever `--model` may name; or one of transformers' models, also wrapped by DDP or
            divided by FSDP or tensor parallelism. Then all ranks of the default process group call together.
        tasks: names, groups or files, as `--tasks`.
        processor: of a model that is here.
        overwrite: of a model that is here: replace what a folder `output` holds, instead of refusing to.
        options: those of `muster run`, with underscores; of a model that is here, `muster.live.evaluation.OPTIONS`.

    Returns:
        The results; of a model that is here, on every rank.

    Raises:
        ConfigurationError: what was asked can't be done; nothing was started.
        RunError: the run failed; what was answered is in the run folder.
    """
    if isinstance(model, str | os.PathLike):
        if processor is not None or overwrite:
            raise ConfigurationError(
                "muster.evaluate: processor and overwrite are for a model that is here already, not for one that is "
                "loaded by its name"
            )
        config = load_config({"model": os.fspath(model), "tasks": tasks, **options})
        return run(config, Silent())
    require("transformers", "torch", "transformers")
    from muster.live.evaluation import evaluate_live

    return evaluate_live(model, tasks, processor, overwrite=overwrite, options=options)
