"""How many GPUs a replica gets in `muster run` when the user doesn't say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from muster.core import JSON, ConfigurationError
from muster.machine.gpus import gpu_memory
from muster.sizing.advice import why_nothing_fits
from muster.sizing.checkpoint import read_folder
from muster.sizing.demand import assumed_demand
from muster.sizing.fit import GIB, Fit, Gpus, all_fits, choose
from muster.sizing.image_grids import ImageSize
from muster.sizing.parameters import LOAD_DTYPES, LoadDtype
from muster.sizing.plan import Described, describe

MODEST_IMAGE = ImageSize(640, 480)
"""What has to fit at the least: one question about one such image."""

DECIDED = frozenset({"device", "device_map", "max_memory", "quantization_config", "tp_plan", "tp_size"})
"""Model arguments by which the user places the model, or changes its size in a way that isn't followed here."""


class Chosen(NamedTuple):
    """GPUs per replica, and why."""

    gpus_per_replica: int
    because: str
    """One sentence for the log."""


def choose_for_run(
    model: str, gpus: Sequence[str], model_args: Mapping[str, JSON], *, max_new_tokens: int | None = None
) -> Chosen | None:
    """The smallest number of GPUs of this node on which a replica of the model in a folder fits, under a device map.

    One request at a time has to fit: a batch is halved when memory runs out. One GPU is left to be one where an image
    of modest size fits, as the images that there could be are rarely those that there are; where several are needed
    anyway, they are as many as the largest image takes, if there are so many.

    `gpus`: entries of `CUDA_VISIBLE_DEVICES`. `model_args`: those of the transformers backend. None where one GPU per
    replica is as good a guess as any: no GPUs, no local safetensors files, a configuration that isn't understood, a
    placement that the user decided (`DECIDED`), or weights that fit on one GPU and an estimate that leaves nothing
    beside them.

    Raises:
        ConfigurationError: the weights alone are larger than all GPUs together; says by how much, and what to do.
    """
    memory = gpu_memory(gpus)
    if not memory or DECIDED & model_args.keys():
        return None
    try:
        checkpoint = read_folder(Path(model))
        described = describe(checkpoint, load_dtype(model_args)) if checkpoint.tensors else None
    except ConfigurationError:
        return None  # loading the model will say it better
    if described is None:
        return None
    cluster = Gpus(len(gpus), min(memory))
    fit = _smallest(described, cluster, max_new_tokens)
    if fit is not None:
        return Chosen(fit.gpus, explain(described, fit))
    weights = described.parameters.loaded_bytes
    if weights > sum(memory):
        fits = _fits(described, cluster, MODEST_IMAGE, max_new_tokens)
        problem = why_nothing_fits(described.parameters, cluster, fits)
        raise ConfigurationError(f"{checkpoint.name}: {problem.what}. What helps: {problem.advice}")
    if weights < max(memory):
        return None
    size = f"{weights / GIB:.1f} GiB of {described.parameters.dtype} weights"
    return Chosen(
        len(gpus), f"a replica gets all {len(gpus)} GPUs: {size}, which may leave too little room beside them"
    )


def load_dtype(model_args: Mapping[str, JSON]) -> LoadDtype:
    """What `--model-args` load the weights as."""
    if model_args.get("load_in_4bit"):
        return "int4"
    if model_args.get("load_in_8bit"):
        return "int8"
    said = model_args.get("dtype", model_args.get("torch_dtype", "auto"))
    return said if said in LOAD_DTYPES else "auto"


def explain(model: Described, fit: Fit) -> str:
    """Why this many GPUs, in one sentence."""
    loaded = f"{model.parameters.loaded_bytes / GIB:.1f} GiB of {model.parameters.dtype} weights"
    together = "1 GPU" if fit.gpus == 1 else f"{fit.gpus} GPUs ({fit.parallelism})"
    in_use = f"{fit.needed / GIB:.1f} of {fit.gpu_memory / GIB:.1f} GiB of each in use"
    return f"a replica gets {together}: {loaded}, {in_use}"


def _smallest(model: Described, cluster: Gpus, answer: int | None) -> Fit | None:
    alone = _fits(model, replace(cluster, gpus=1), MODEST_IMAGE, answer)[0]
    if alone.fits:
        return alone
    for image in (None, MODEST_IMAGE):
        choice = choose(_fits(model, cluster, image, answer), cluster)
        if choice is not None:
            return choice.fit
    return None


def _fits(model: Described, cluster: Gpus, image: ImageSize | None, answer: int | None) -> list[Fit]:
    wanted = assumed_demand(model.rule, answer=answer, image=image, limit=model.architecture.text.context)
    return all_fits(model.architecture, model.parameters, wanted.demand, cluster, "device-map")
