"""Metrics by name: which there are, their variants, and how to build one."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from muster.core import JSON, ConfigurationError
from muster.core.text import did_you_mean
from muster.metrics.own_code import load_own
from muster.metrics.protocol import Metric
from muster.metrics.variants import VariantMetric

_METRICS = {
    "ai2d": "muster.metrics.choice_benchmarks:Ai2d",
    "anls": "muster.metrics.anls:Anls",
    "babyvision": "muster.metrics.judged_match:BabyVision",
    "blink": "muster.metrics.blink:Blink",
    "captions": "muster.metrics.captions.metric:Captions",
    "ccocr": "muster.metrics.ccocr:CcOcr",
    "charxiv": "muster.metrics.charxiv:CharXiv",
    "contains": "muster.metrics.contains:Contains",
    "countbench": "muster.metrics.countbench:CountBench",
    "dialogues": "muster.metrics.dialogues:Dialogues",
    "dynamath": "muster.metrics.dynamath:DynaMath",
    "egoschema": "muster.metrics.video_choice_benchmarks:EgoSchema",
    "embspatial": "muster.metrics.spatial_choice:EmbSpatial",
    "erqa": "muster.metrics.spatial_choice:Erqa",
    "exact_match": "muster.metrics.exact_match:ExactMatch",
    "grounding": "muster.metrics.grounding:Grounding",
    "hallusionbench": "muster.metrics.hallusionbench:HallusionBench",
    "hrbench": "muster.metrics.hrbench:HrBench",
    "judged_match": "muster.metrics.judged_match:JudgedMatch",
    "llava_bench": "muster.metrics.llava_bench:LlavaBench",
    "longvideobench": "muster.metrics.video_choice_benchmarks:LongVideoBench",
    "lvbench": "muster.metrics.long_video_choice:LvBench",
    "mathverse": "muster.metrics.judged_match:MathVerse",
    "mathvision": "muster.metrics.mathvision:MathVision",
    "mathvista": "muster.metrics.mathvista:MathVista",
    "medxpertqa": "muster.metrics.medxpertqa:MedXpertQa",
    "mlvu": "muster.metrics.long_video_choice:Mlvu",
    "mmbench": "muster.metrics.mmbench:MmBench",
    "mme": "muster.metrics.mme:Mme",
    "mme_realworld": "muster.metrics.spatial_choice:MmeRealWorld",
    "mmlongbench_doc": "muster.metrics.mmlongbench_doc:MmLongBenchDoc",
    "mmmu": "muster.metrics.mmmu:Mmmu",
    "mmmu_pro": "muster.metrics.mmmu_pro:MmmuPro",
    "mmstar": "muster.metrics.macro_choice:MmStar",
    "mmvet": "muster.metrics.mmvet:MmVet",
    "mmvp": "muster.metrics.mmvp:Mmvp",
    "mmvu": "muster.metrics.judged_match:Mmvu",
    "motionbench": "muster.metrics.long_video_choice:MotionBench",
    "muirbench": "muster.metrics.choice_benchmarks:MuirBench",
    "multiple_choice": "muster.metrics.multiple_choice:MultipleChoice",
    "mvbench": "muster.metrics.video_choice_benchmarks:MvBench",
    "number": "muster.metrics.number:Number",
    "ocrbench": "muster.metrics.ocrbench:OcrBench",
    "ocrbench_v2": "muster.metrics.ocrbench_v2:OcrBenchV2",
    "omnidocbench": "muster.metrics.omnidocbench.metric:OmniDocBench",
    "osworld_g": "muster.metrics.osworld_g:OsWorldG",
    "realworldqa": "muster.metrics.choice_benchmarks:RealWorldQa",
    "refspatial": "muster.metrics.refspatial:RefSpatial",
    "relaxed_accuracy": "muster.metrics.relaxed_accuracy:RelaxedAccuracy",
    "repeats": "muster.metrics.repeated:Repeats",
    "scienceqa": "muster.metrics.choice_benchmarks:ScienceQa",
    "screenspot": "muster.metrics.screenspot:ScreenSpot",
    "seedbench": "muster.metrics.choice_benchmarks:SeedBench",
    "simplevqa": "muster.metrics.simplevqa:SimpleVqa",
    "videomme": "muster.metrics.video_choice_benchmarks:VideoMme",
    "videomme_v2": "muster.metrics.videomme_v2:VideoMmeV2",
    "videommmu": "muster.metrics.videommmu:VideoMmmu",
    "vlmsareblind": "muster.metrics.vlmsareblind:VlmsAreBlind",
    "vqa_accuracy": "muster.metrics.vqa_accuracy:VqaAccuracy",
    "vsibench": "muster.metrics.vsibench:VsiBench",
    "vstar": "muster.metrics.spatial_choice:VStar",
    "wemath": "muster.metrics.wemath:WeMath",
    "yes_no": "muster.metrics.yes_no:YesNo",
    "zerobench": "muster.metrics.zerobench:ZeroBench",
}
_VARIANT = "variant"


class MetricClass(Protocol):
    """What a name stands for: a class whose constructor takes the variant and typed keyword parameters.

    `variants` lists the variants, the default first; a class without it has one, and takes no `variant`.
    """

    def __call__(self, **parameters: object) -> Metric:
        """A metric, ready to score. Raises `ConfigurationError` where parameters contradict each other."""
        ...


def metric_names() -> list[str]:
    """The metrics that ship with Muster, sorted."""
    return sorted(_METRICS)


def metric_variants(name: str) -> list[str]:
    """The variants of a metric, the default first; none for a third-party metric without variants."""
    return _variants(_load(name, None))


def _variants(metric_class: MetricClass) -> list[str]:
    return list(getattr(metric_class, "variants", ()))


def build_metric(
    name: str,
    params: Mapping[str, JSON] | None = None,
    variant: str | None = None,
    folder: Path | None = None,
) -> Metric:
    """A metric by its name, or by `module:Class` or `./file.py:Class` for one that lives elsewhere.

    `variant` None is the metric's default. `folder`: where the task file is, which such code may lie beside. Raises
    `ConfigurationError` for an unknown metric, variant or parameter, or a parameter of the wrong type.
    """
    metric_class = _load(name, folder)
    accepted = inspect.signature(metric_class).parameters
    arguments = _checked(name, metric_class, accepted, dict(params or {}))
    if variant is not None:
        _check_variant(name, variant, _variants(metric_class), takes_one=_VARIANT in accepted)
        arguments[_VARIANT] = variant
    missing = [key for key, parameter in accepted.items() if _required(parameter) and key not in arguments]
    if missing:
        raise ConfigurationError(
            f"metric {name!r} needs the parameter {missing[0]!r}: add it beside its name."
        )
    metric = metric_class(**arguments)
    if not all(hasattr(metric, promised) for promised in ("info", "score", "aggregate")):
        raise ConfigurationError(
            f"{name!r} is not a metric: it needs info, score and aggregate (docs/metrics.md)."
        )
    if isinstance(metric, VariantMetric):
        _check_offered(metric, metric.variant)
    return metric


def variants_of(metric: Metric) -> tuple[str, ...]:
    """The variants that a built metric can be had in, the default first; none where it has just one."""
    return metric.offered if isinstance(metric, VariantMetric) else ()


def in_variant(metric: Metric, variant: str) -> Metric:
    """The same metric, with its parameters, in another variant.

    Raises `ConfigurationError` where it has no such variant.
    """
    if variant == metric.info.variant:
        return metric
    if not isinstance(metric, VariantMetric):
        raise ConfigurationError(
            f"metric {metric.info.name!r} has one scoring variant, {metric.info.variant!r}, and no variant {variant!r}."
        )
    _check_variant(metric.name, variant, list(metric.variants), takes_one=True)
    _check_offered(metric, variant)
    return metric.in_variant(variant)


def _load(name: str, folder: Path | None) -> MetricClass:
    target = _METRICS.get(name)
    if target is None and ":" not in name:
        raise ConfigurationError(
            f"unknown metric {name!r}{did_you_mean(name, metric_names()) or '.'} There are "
            f"{', '.join(metric_names())}; "
            f"one of your own is named module:Class or ./file.py:Class."
        )
    if target is None:
        found = load_own(name, folder)
    else:
        module_name, _, attribute = target.partition(":")
        found = getattr(import_module(module_name), attribute)
    if not callable(found):
        raise ConfigurationError(f"metric {name!r} is not a class.")
    return cast("MetricClass", found)


def _check_variant(name: str, variant: str, variants: list[str], *, takes_one: bool) -> None:
    if not takes_one:
        raise ConfigurationError(f"metric {name!r} has no scoring variants; remove {variant!r}.")
    if variants and variant not in variants:
        raise ConfigurationError(
            f"metric {name!r} has no scoring variant {variant!r}{did_you_mean(variant, variants) or '.'} "
            f"There are {', '.join(variants)}."
        )


def _check_offered(metric: VariantMetric, variant: str) -> None:
    if variant not in metric.offered:
        raise ConfigurationError(
            f"metric {metric.name!r} has no scoring variant {variant!r} for this benchmark: that toolkit doesn't "
            f"evaluate it. There are {', '.join(metric.offered)}."
        )


def _checked(
    name: str, metric_class: MetricClass, accepted: Mapping[str, inspect.Parameter], params: dict[str, JSON]
) -> dict[str, object]:
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    known = [key for key, parameter in accepted.items() if key != _VARIANT and _is_named(parameter)]
    hints = _type_hints(metric_class)
    checked: dict[str, object] = {}
    for key, value in params.items():
        if key not in known and not (open_ended and key != _VARIANT):
            listed = ", ".join(known) or "none"
            raise ConfigurationError(
                f"metric {name!r} has no parameter {key!r}{did_you_mean(key, known) or '.'} It takes: {listed}."
            )
        checked[key] = _converted(name, key, value, hints.get(key, object))
    return checked


def _type_hints(metric_class: MetricClass) -> Mapping[str, type[object]]:
    target = metric_class.__init__ if inspect.isclass(metric_class) else metric_class
    try:
        return typing.get_type_hints(target)
    except (
        NameError,
        TypeError,
    ):  # a third-party class with hints that don't resolve: nothing to check against
        return {}


def _converted(name: str, key: str, value: JSON, expected: type[object]) -> object:
    if expected is object:
        return value
    import msgspec

    try:
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        raise ConfigurationError(
            f"metric {name!r}, parameter {key!r}: {error}, but it is {value!r}."
        ) from error


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)


def _required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and _is_named(parameter)
