"""What won't work, or not as expected, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from muster.sizing.architecture import Architecture
from muster.sizing.fit import GIB, Choice, Fit, Gpus
from muster.sizing.image_tokens import ImageRule
from muster.sizing.memory import Demand
from muster.sizing.parameters import Parameters

TIGHT = 0.95
"""Of the memory: above it, a warning."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the user should know."""

    level: Literal["error", "warning"]
    what: str
    advice: str = ""


def find_problems(
    architecture: Architecture,
    parameters: Parameters,
    rule: ImageRule,
    demand: Demand,
    cluster: Gpus | None,
    fits: Sequence[Fit],
    choice: Choice | None,
) -> list[Problem]:
    """All of them, errors first."""
    found = [
        *_room(parameters, cluster, fits, choice),
        *_context(architecture, demand),
        *_knowledge(parameters, rule),
    ]
    return sorted(found, key=lambda problem: problem.level)


def why_nothing_fits(parameters: Parameters, cluster: Gpus, fits: Sequence[Fit]) -> Problem:
    """The error where no K fits on a node."""
    possible = [fit for fit in fits if not fit.refusal]
    best = min(possible, key=lambda fit: fit.needed, default=None)
    size = f"its weights are {parameters.loaded_bytes / GIB:.1f} GiB as {parameters.dtype}"
    if best is None:
        return Problem(
            "error", f"no number of GPUs from 1 to {cluster.gpus} can be: {fits[0].refusal}", _SMALLER
        )
    what = (
        f"it doesn't fit on {cluster.gpus} GPU(s) of {cluster.gpu_memory / GIB:.1f} GiB: {size}, and the fullest of "
        f"{best.gpus} GPU(s) would need {best.needed / GIB:.1f} GiB"
    )
    if best.weights < best.gpu_memory:
        return Problem(
            "error", what, "a smaller --batch-size, shorter --max-new-tokens, smaller images, or " + _SMALLER
        )
    return Problem("error", what, _SMALLER)


_SMALLER = (
    "larger GPUs or more of them in a node; --dtype int8 or int4 (run with --model-args load_in_8bit=true or "
    "load_in_4bit=true); offloading with --model-args device_map=auto,offload_folder=DIR works, slowly"
)


def _room(
    parameters: Parameters, cluster: Gpus | None, fits: Sequence[Fit], choice: Choice | None
) -> list[Problem]:
    if cluster is None:
        return []
    if choice is None:
        return [why_nothing_fits(parameters, cluster, fits)]
    found = []
    if choice.fit.needed > TIGHT * choice.fit.gpu_memory:
        found.append(
            Problem("warning", f"it is tight: {choice.fit.needed / choice.fit.gpu_memory:.0%} of each GPU's memory are "
                    "planned for", "smaller images, a shorter --max-new-tokens, or more GPUs per replica")
        )  # fmt: skip
    if choice.idle_gpus:
        found.append(
            Problem("warning", f"{choice.idle_gpus} of {cluster.gpus * cluster.nodes} GPUs stay idle: replicas have "
                    f"{choice.gpus_per_replica} each")
        )  # fmt: skip
    if choice.fit.parallelism == "device-map" and choice.gpus_per_replica > 1:
        why = next(
            (fit.refusal for fit in fits if fit.parallelism == "tensor" and fit.refusal and fit.gpus > 1), ""
        )
        found.append(
            Problem("warning", "under a device map one GPU of a replica works at a time" + (f"; tensor parallelism "
                    f"can't be: {why}" if why else ""))
        )  # fmt: skip
    if parameters.quantization and choice.fit.parallelism == "tensor" and choice.gpus_per_replica > 1:
        found.append(
            Problem("warning", f"whether transformers can cut {parameters.quantization.name} weights for tensor "
                    "parallelism depends on its version", "if it refuses, --parallelism device-map")
        )  # fmt: skip
    return found


def _context(architecture: Architecture, demand: Demand) -> list[Problem]:
    limit = architecture.text.context
    if limit is None or demand.length <= limit:
        return []
    return [
        Problem(
            "warning",
            f"prompt and answer together may take {demand.length:,} tokens, the model is made for {limit:,}",
            "such samples are recorded as failed; smaller images or a shorter --max-new-tokens",
        )
    ]


def _knowledge(parameters: Parameters, rule: ImageRule) -> list[Problem]:
    found = []
    if not rule.exact:
        found.append(Problem("warning", f"image tokens are an upper bound: {rule.reason}"))
    quantization = parameters.quantization
    if quantization is not None and quantization.method == "other":
        found.append(
            Problem("warning", f"quantised as {quantization.name}, which Muster doesn't know: sizes are those of the "
                    "files, the number of parameters is a guess")
        )  # fmt: skip
    return found
