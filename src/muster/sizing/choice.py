"""How many GPUs a replica gets in `muster run` when the user doesn't say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from muster.core import JSON, ConfigurationError
from muster.sizing.advice import why_nothing_fits
from muster.sizing.checkpoint import read_folder
from muster.sizing.demand import assumed_demand
from muster.sizing.fit import GIB, Choice, Cluster, Parallelism, all_fits, choose
from muster.sizing.gpus import gpu_memory
from muster.sizing.image_grids import ImageSize
from muster.sizing.parameters import LOAD_DTYPES, LoadDtype
from muster.sizing.plan import Described, describe

MODEST_IMAGE = ImageSize(640, 480)
"""What has to fit at the least: one question about one such image."""


class Chosen(NamedTuple):
    """GPUs per replica, replicas, and why."""

    gpus_per_replica: int
    parallelism: Parallelism
    replicas: int
    because: str
    """One sentence for the log."""


def choose_for_run(
    model: str,
    gpus: Sequence[str],
    model_args: Mapping[str, JSON],
    *,
    batch_size: int = 1,
    max_new_tokens: int | None = None,
    parallelism: Parallelism | None = None,
) -> Chosen | None:
    """The smallest number of GPUs of this node on which a replica of the model in a folder fits.

    `gpus`: entries of `CUDA_VISIBLE_DEVICES`. `model_args`: those of the transformers backend. None where nothing can
    be told, and one GPU per replica is as good a guess as any: no GPUs, no local safetensors files, a configuration
    that isn't understood, or a placement that the user decided (`device`, `device_map`).

    Raises:
        ConfigurationError: it can't fit on this node in any way; says by how much, and what to do.
    """
    memory = gpu_memory(gpus)
    if not memory or "device" in model_args or "device_map" in model_args:
        return None
    try:
        checkpoint = read_folder(Path(model))
        described = describe(checkpoint, load_dtype(model_args)) if checkpoint.tensors else None
    except ConfigurationError:
        return None  # loading the model will say it better
    if described is None:
        return None
    cluster = Cluster(len(gpus), min(memory))
    choice = _choose(described, cluster, batch_size, max_new_tokens, parallelism)
    return Chosen(
        choice.gpus_per_replica, choice.fit.parallelism, choice.replicas, explain(described, choice)
    )


def load_dtype(model_args: Mapping[str, JSON]) -> LoadDtype:
    """What `--model-args` load the weights as."""
    if model_args.get("load_in_4bit"):
        return "int4"
    if model_args.get("load_in_8bit"):
        return "int8"
    said = model_args.get("dtype", model_args.get("torch_dtype", "auto"))
    return said if said in LOAD_DTYPES else "auto"


def explain(model: Described, choice: Choice) -> str:
    """Why this many GPUs, in one sentence."""
    fit = choice.fit
    loaded = f"{model.parameters.loaded_bytes / GIB:.1f} GiB of {model.parameters.dtype} weights"
    together = "1 GPU" if fit.gpus == 1 else f"{fit.gpus} GPUs ({fit.parallelism})"
    return (
        f"a replica gets {together}: {loaded}, {fit.needed / GIB:.1f} of {fit.gpu_memory / GIB:.1f} GiB of each in "
        f"use; {choice.replicas} replica(s)"
    )


def _choose(
    model: Described, cluster: Cluster, batch: int, answer: int | None, parallelism: Parallelism | None
) -> Choice:
    """For the largest image there can be, or where that can't fit, for a modest one: images may well be smaller."""
    limit = model.architecture.text.context
    for image in (None, MODEST_IMAGE):
        wanted = assumed_demand(model.rule, batch=batch, answer=answer, image=image, limit=limit)
        fits = all_fits(model.architecture, model.parameters, wanted.demand, cluster, parallelism)
        if (choice := choose(fits, cluster)) is not None:
            return choice
    problem = why_nothing_fits(model.parameters, cluster, fits)
    raise ConfigurationError(f"{model.checkpoint.name}: {problem.what}. What helps: {problem.advice}")
