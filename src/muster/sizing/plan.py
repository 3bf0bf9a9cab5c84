"""A plan: what a model is, what a replica needs, how many fit, what won't work and why. Values in, values out."""

from __future__ import annotations

from dataclasses import dataclass

from muster.core.choices import Parallelism
from muster.sizing.advice import Problem, find_problems
from muster.sizing.architecture import Architecture, read_architecture
from muster.sizing.checkpoint import Checkpoint, Source
from muster.sizing.demand import Assumption
from muster.sizing.fit import GIB, Choice, Fit, Gpus, all_fits, choose
from muster.sizing.forecast import Expectation, Pace
from muster.sizing.image_grids import ImageSize
from muster.sizing.image_tokens import ImageRule, image_rule
from muster.sizing.memory import cache_bytes_per_token
from muster.sizing.parameters import LOAD_DTYPES, LoadDtype, Parameters, Part, count_parameters

COMMON_GPUS: dict[str, int] = {
    "RTX 4090, A10, L4 (24 GB)": 24 * GIB,
    "A100 (40 GB)": 40 * GIB,
    "L40S, A6000 (48 GB)": 48 * GIB,
    "A100, H100 (80 GB)": 80 * GIB,
    "H200 (141 GB)": 140 * GIB,
}
"""Memory as the driver reports it, rounded down to a GiB that all of them have."""
GPUS_OF_A_NODE = 8
SHOWN_SIZES = (ImageSize(336, 336), ImageSize(640, 480), ImageSize(1280, 960), ImageSize(1920, 1080))


@dataclass(frozen=True, slots=True)
class Described:
    """A model, read and counted: what every plan for it starts from."""

    checkpoint: Checkpoint
    architecture: Architecture
    parameters: Parameters
    rule: ImageRule


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What the model is. Sizes in bytes."""

    name: str
    family: str
    source: Source
    parameters: int
    parts: dict[Part, int]
    stored: int
    loaded: int
    dtype: str
    """What it is loaded as."""
    by_dtype: dict[str, int]
    """Loaded, for each dtype that can be asked for."""
    layers: int
    heads: int
    kv_heads: int
    cache_per_token: int
    """One token of one sequence, over all GPUs of a replica."""
    context: int | None
    divisors: tuple[int, ...]
    """K that tensor parallelism can use: they divide the heads and the key-value heads."""


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """What images cost."""

    rule: str
    exact: bool
    most_tokens: int
    tokens: dict[str, int]
    """By size of image."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer to: what does this model need, and how do I run it here?"""

    model: ModelSummary
    images: ImageSummary
    assumption: Assumption
    cluster: Gpus | None
    fits: tuple[Fit, ...]
    choice: Choice | None
    elsewhere: dict[str, Choice | None]
    """On a node of eight common GPUs, by their name; where no cluster is known."""
    problems: tuple[Problem, ...]
    expectations: tuple[Expectation, ...] = ()
    """Where a speed is known, for growing numbers of replicas."""
    requests: int = 0
    """That the expectations are for."""
    pace: Pace | None = None
    notes: tuple[str, ...] = ()


def describe(checkpoint: Checkpoint, dtype: LoadDtype = "auto") -> Described:
    """Read a checkpoint's configuration and count its parameters. Raises `ConfigurationError`."""
    architecture = read_architecture(checkpoint.config)
    parameters = count_parameters(checkpoint, architecture, dtype)
    rule = image_rule(architecture, checkpoint.config, checkpoint.processor)
    return Described(checkpoint, architecture, parameters, rule)


def make_plan(
    model: Described, assumption: Assumption, cluster: Gpus | None, parallelism: Parallelism | None = None
) -> Plan:
    """Place the model on the cluster, or on common ones where none is known."""
    fits: list[Fit] = []
    choice = None
    elsewhere: dict[str, Choice | None] = {}
    if cluster is not None:
        fits, choice = _place(model, assumption, cluster, parallelism)
    else:
        for name, memory in COMMON_GPUS.items():
            elsewhere[name] = _place(model, assumption, Gpus(GPUS_OF_A_NODE, memory), parallelism)[1]
    return Plan(
        model=_summary(model),
        images=_image_summary(model.rule),
        assumption=assumption,
        cluster=cluster,
        fits=tuple(fits),
        choice=choice,
        elsewhere=elsewhere,
        problems=tuple(
            find_problems(
                model.architecture, model.parameters, model.rule, assumption.demand, cluster, fits, choice
            )
        ),
        notes=model.checkpoint.notes,
    )


def _place(
    model: Described, assumption: Assumption, cluster: Gpus, parallelism: Parallelism | None
) -> tuple[list[Fit], Choice | None]:
    fits = all_fits(model.architecture, model.parameters, assumption.demand, cluster, parallelism)
    return fits, choose(fits, cluster)


def _summary(model: Described) -> ModelSummary:
    text, parameters = model.architecture.text, model.parameters
    parts: tuple[Part, ...] = ("vision", "projector", "language", "embedding")
    others: list[LoadDtype] = (
        [] if parameters.quantization else [name for name in LOAD_DTYPES if name != "auto"]
    )
    return ModelSummary(
        name=model.checkpoint.name,
        family=model.architecture.family,
        source=model.checkpoint.source,
        parameters=parameters.total,
        parts={part: parameters.of(part) for part in parts},
        stored=parameters.stored_bytes,
        loaded=parameters.loaded_bytes,
        dtype=parameters.dtype,
        by_dtype={
            name: count_parameters(model.checkpoint, model.architecture, name).loaded_bytes for name in others
        },
        layers=text.layers,
        heads=text.heads,
        kv_heads=text.kv_heads,
        cache_per_token=cache_bytes_per_token(text, parameters.compute_bytes),
        context=text.context,
        divisors=tuple(
            k for k in range(1, text.kv_heads + 1) if text.heads % k == 0 and text.kv_heads % k == 0
        )
        if text.has_tensor_plan
        else (1,),
    )


def _image_summary(rule: ImageRule) -> ImageSummary:
    sizes = dict.fromkeys((*SHOWN_SIZES, rule.largest))
    tokens = {f"{size.width}×{size.height}": rule.cost(size).tokens for size in sizes}
    return ImageSummary(rule.reason, rule.exact, rule.most.tokens, tokens)
