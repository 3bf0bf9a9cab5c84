"""Loading a model's processor: tokenizer, image processor and chat template."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from muster.core import JSON, ConfigurationError
from muster.models.template_settings import with_settings
from muster.models.transformers.interfaces import Processor
from muster.models.transformers.options import PROCESSOR_PREFIX, Options
from muster.models.transformers.unloadable import own_code_hint, why_unloadable

log = logging.getLogger(__name__)

VIDEO = "video_processor"
FOR_AUTO_CLASSES = ("use_fast", "backend", "token", "code_revision")
"""Arguments that choose what is loaded."""


def load_processor(folder: Path, options: Options, *, trust_remote_code: bool) -> Processor:
    """The processor in a model folder, padding as the model wants it. Raises `ConfigurationError`."""
    from transformers import AutoProcessor

    arguments = {**options.processor, "trust_remote_code": trust_remote_code}
    try:
        loader = AutoProcessor if importlib.util.find_spec("torchvision") else _without_torchvision(folder)
        processor = loader.from_pretrained(folder, **arguments)
    except Exception as error:
        raise ConfigurationError(
            f"the processor in {folder} can't be loaded: {why_unloadable(error, folder)}"
        ) from error
    check_processor(processor, str(folder), own_code_hint(folder))
    _check_arguments(processor, options.processor)
    _set_against_class(processor, options.processor)
    if options.chat_template is not None:
        processor.chat_template = _read_template(options.chat_template)
    if options.template_settings:
        _tell_template(processor, options.template_settings)
    encoder = has_encoder(folder, trust_remote_code=trust_remote_code)
    return pad_for_generation(cast("Processor", processor), encoder=encoder)


def check_processor(processor: object, where: str, hint: str = "") -> None:
    """Raise `ConfigurationError` unless this is a processor for text and images. `where` it was found."""
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise ConfigurationError(
            f"{where} has no processor for text and images, only a {type(processor).__name__}; "
            "a vision-language model's folder has a preprocessor_config.json or processor_config.json" + hint
        )


def pad_for_generation(processor: Processor, *, encoder: bool) -> Processor:
    """The same processor, set to pad on the side that the architecture wants.

    Decoders write on behind the last column, so prompts end there. Encoders (`encoder`) count positions from the first.
    """
    processor.tokenizer.padding_side = "right" if encoder else "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def has_encoder(folder: Path, *, trust_remote_code: bool) -> bool:
    """Whether an encoder reads the prompts of a folder's model, and a decoder writes the answers."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # noqa: BLE001 - loading the model will say so
        log.debug("the configuration in %s can't be read: %s", folder, error)
        return False
    return bool(getattr(config, "is_encoder_decoder", False))


def _check_arguments(processor: Any, given: Mapping[str, JSON]) -> None:
    """Refuse what transformers would ignore without a word, such as max_pixels for a model of fixed image size."""
    declared = getattr(processor.image_processor, "valid_kwargs", None)
    if declared is None:
        return
    known = {
        *declared.__annotations__,
        *inspect.signature(type(processor).__init__).parameters,
        *FOR_AUTO_CLASSES,
    }
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"--model-args {PROCESSOR_PREFIX}{name}: a {type(processor).__name__} has no such setting; "
                f"its images have {', '.join(sorted(declared.__annotations__))}"
            )


def _set_against_class(processor: Any, given: Mapping[str, JSON]) -> None:
    """What the user says of images goes before what the processor's class says, which goes before all saved settings.

    InternVL's cuts images into tiles whatever its files say, Gemma 3's never uses pan and scan (transformers 5.24).
    """
    decided = getattr(processor, "images_kwargs", None)
    if isinstance(decided, dict):
        own = {name: given[name] for name in decided if name in given}
        if own:
            processor.images_kwargs = {**decided, **own}


def _without_torchvision(folder: Path) -> Any:
    """What loads a processor where torchvision is missing.

    Video processors exist for torchvision alone, and a processor that has one can't be loaded without it, even
    for images. So its video part is left out; image processors have a form that needs Pillow only.
    """
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import processor_class_from_name

    name = _processor_class_name(folder)
    processor_class = processor_class_from_name(name) if name else None
    if processor_class is None or VIDEO not in processor_class.get_attributes():
        return AutoProcessor
    return without_video(processor_class)


def without_video(processor_class: Any) -> Any:
    """The same processor class, but for its video part."""

    def get_attributes(_: type) -> list[str]:
        return [name for name in processor_class.get_attributes() if name != VIDEO]

    return type(processor_class.__name__, (processor_class,), {"get_attributes": classmethod(get_attributes)})


def _processor_class_name(folder: Path) -> str | None:
    """The class that a folder's files name, or that belongs to the model's type."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        name = _read_json(folder / file).get("processor_class")
        if isinstance(name, str):
            return name
    name = PROCESSOR_MAPPING_NAMES.get(model_type(folder) or "")
    return name if isinstance(name, str) else None


def model_type(folder: Path) -> str | None:
    """What a model folder's configuration names its kind of model."""
    name = _read_json(folder / "config.json").get("model_type")
    return name if isinstance(name, str) else None


def _read_json(path: Path) -> Mapping[str, JSON]:
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _tell_template(processor: Any, settings: Mapping[str, JSON]) -> None:
    holders = [
        holder for holder in (processor, processor.tokenizer) if getattr(holder, "chat_template", None)
    ]
    if not holders:
        raise ConfigurationError(
            f"--model-args chat_template.{next(iter(settings))}: the model has no chat template"
        )
    own = holders[0].chat_template
    told = with_settings(own["default"] if isinstance(own, dict) else own, settings)
    holders[0].chat_template = {**own, "default": told} if isinstance(own, dict) else told


def _read_template(name: str) -> str:
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"--model-args chat_template={name}: there is no such file")
    return path.read_text(encoding="utf-8")
