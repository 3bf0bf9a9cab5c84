"""What `--model-args` mean to the vllm backend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from muster.core import JSON, ConfigurationError
from muster.models.protocol import ModelSettings
from muster.models.template_settings import take_template_settings
from muster.models.transformers.options import (
    PROCESSOR_ARGS,
    PROCESSOR_PREFIX,
    VIDEO_FORMS,
    Options,
    VideoForm,
    one_of,
)
from muster.models.weights import check_weights

INVARIANT = "VLLM_BATCH_INVARIANT"
NATIVE_VIDEO = frozenset({"qwen2_5_vl"})
"""Types of models whose videos were compared: vLLM answers as transformers does."""
AUTO_LENGTH = -1
"""`max_model_len`: the model's own context, or as much of it as there is memory for."""

DECIDED = {
    "model": "--model",
    "tokenizer": "--model, whose folder has the tokenizer",
    "trust_remote_code": "--trust-remote-code",
    "seed": "--seed",
    "tensor_parallel_size": "--gpus-per-replica K --parallelism tensor",
    "data_parallel_size": "--replicas N",
    "pipeline_parallel_size": "--gpus-per-replica K --parallelism tensor",
    "distributed_executor_backend": "nothing: each replica has its engine, in processes of its own on one node",
    "max_tokens": "--max-new-tokens",
    "max_new_tokens": "--max-new-tokens",
    "temperature": "--temperature",
    "top_p": "--top-p",
    "batch_size": "--max-in-flight N",
    "generation_config": "the task's settings; of the model's own, end tokens and repetition penalty count",
}
"""Arguments of vLLM and of other tools' vLLM models that something else decides, and what."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """`--model-args`, sorted by who gets them."""

    revision: str | None = None
    chat_template: str | None = None
    """A file with a Jinja chat template, in place of the model's own."""
    template_settings: Mapping[str, JSON] = field(default_factory=dict)
    """What the template is told: `chat_template.NAME`."""
    max_images: int | None = None
    """Per prompt; None: as many as the run asks about at once."""
    video: VideoForm = "auto"
    """auto: as videos with the models in `NATIVE_VIDEO`, whose answers were compared; frames as images with others."""
    batch_invariant: bool = False
    """Whether an answer may not depend on what else is in the batch: slower, and not for every GPU and model."""
    processor: Mapping[str, JSON] = field(default_factory=dict)
    """For the model's processor, here and in the engine: min_pixels, max_pixels, whatever starts with `processor_`."""
    engine: Mapping[str, JSON] = field(default_factory=dict)
    """Everything else, for `AsyncEngineArgs`."""

    @property
    def for_processor(self) -> Options:
        """The same for what loads a processor in the transformers backend."""
        return Options(
            revision=self.revision,
            chat_template=self.chat_template,
            template_settings=self.template_settings,
            processor=self.processor,
        )


def parse_options(args: Mapping[str, JSON]) -> VllmOptions:
    """Sort `--model-args`. Raises `ConfigurationError` for what something else decides; unknown names go to vLLM."""
    decided = [f"  {name}: write {DECIDED[name]}" for name in args if name in DECIDED]
    if decided:
        raise ConfigurationError(
            "--model-args has what is said elsewhere:\n" + "\n".join(decided) + "\nLeave it out."
        )
    rest = dict(args)
    if "torch_dtype" in rest:
        rest.setdefault("dtype", rest.pop("torch_dtype"))
    if rest.pop("device", "cpu") != "cpu":
        raise ConfigurationError("--model-args device: vLLM takes the GPUs that the replica was given")
    names = [name for name in rest if name in PROCESSOR_ARGS or name.startswith(PROCESSOR_PREFIX)]
    processor = {name.removeprefix(PROCESSOR_PREFIX): rest.pop(name) for name in names}
    if processor and "mm_processor_kwargs" in rest:
        raise ConfigurationError(
            "--model-args mm_processor_kwargs: write processor_NAME=… for each of them instead"
        )
    return VllmOptions(
        revision=_text(rest, "revision"),
        chat_template=_text(rest, "chat_template"),
        template_settings=take_template_settings(rest),
        max_images=_count(rest, "max_images"),
        video=cast("VideoForm", one_of(rest, "video", VIDEO_FORMS)),
        batch_invariant=_switch(rest, "batch_invariant"),
        processor=processor,
        engine=rest,
    )


def check_settings(settings: ModelSettings) -> None:
    """Raise `ConfigurationError` for settings that can't work, as far as that can be told without vLLM."""
    options = parse_options(settings.args)
    if (folder := Path(settings.model)).is_dir():
        check_weights(folder)
    check_recorded(batch_invariant=options.batch_invariant)


def check_recorded(*, batch_invariant: bool, env: Mapping[str, str] = os.environ) -> None:
    """Raise `ConfigurationError` where only the environment asks for batch invariance: no record would tell."""
    if env.get(INVARIANT, "0") not in ("", "0") and not batch_invariant:
        raise ConfigurationError(
            f"{INVARIANT} is set in the environment, where the run's record doesn't see it: unset it and say "
            "--model-args batch_invariant=true"
        )


def gives_videos(form: VideoForm, model_type: str | None, *, possible: bool) -> bool:
    """Whether the engine gets videos as they are. `possible`: the processor and its chat template have them.

    Raises `ConfigurationError` where they can't be given and were to.
    """
    if form == "video" and not possible:
        raise ConfigurationError(
            "--model-args video=video: this model's processor or its chat template has no part for videos, or has lost "
            "it because torchvision isn't installed"
        )
    return form == "video" or (form == "auto" and possible and model_type in NATIVE_VIDEO)


def engine_arguments(
    settings: ModelSettings, options: VllmOptions, model: str, *, takes_videos: bool = False
) -> dict[str, object]:
    """The arguments of `AsyncEngineArgs` for one replica; `model` is the folder it loads."""
    arguments: dict[str, object] = {
        "max_model_len": AUTO_LENGTH,
        "enable_prefix_caching": True,
        **options.engine,
        "model": model,
        "seed": settings.seed,
        "trust_remote_code": settings.trust_remote_code,
        "tensor_parallel_size": settings.gpus_per_replica,
        # Said, because vLLM would choose Ray where this process is an actor, and the launcher's ranks where it may.
        "distributed_executor_backend": "mp" if settings.gpus_per_replica > 1 else "uni",
        "disable_log_stats": True,
    }
    if settings.max_in_flight is not None:
        arguments.setdefault("max_num_seqs", settings.max_in_flight)
    if options.processor:
        arguments["mm_processor_kwargs"] = dict(options.processor)
    arguments.setdefault("limit_mm_per_prompt", _media_limits(settings, options, takes_videos=takes_videos))
    return arguments


def _media_limits(settings: ModelSettings, options: VllmOptions, *, takes_videos: bool) -> dict[str, int]:
    """Per prompt; a kind that isn't in it has vLLM's own limit, which is the context.

    Said, because vLLM keeps room for the largest video otherwise, where none is asked about.
    """
    videos = settings.most_videos
    limits: dict[str, int] = {}
    # How many images a video becomes is known when it is opened. With interleaved subtitles it does with every model.
    images = settings.most_images if options.max_images is None and not videos else options.max_images
    if images is not None:
        limits["image"] = max(1, images)
    if not takes_videos:
        limits["video"] = 0
    elif videos is not None:
        limits["video"] = videos
    return limits


def engine_variables(options: VllmOptions) -> dict[str, str]:
    """Environment variables of the engine's processes."""
    return {INVARIANT: "1"} if options.batch_invariant else {}


def _text(args: dict[str, JSON], name: str) -> str | None:
    value = args.pop(name, None)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"--model-args {name}={value!r}: expected a text")
    return value


def _switch(args: dict[str, JSON], name: str) -> bool:
    value = args.pop(name, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"--model-args {name}={value!r}: expected true or false")
    return value


def _count(args: dict[str, JSON], name: str) -> int | None:
    value = args.pop(name, None)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ConfigurationError(f"--model-args {name}={value!r}: expected a number")
    return value
