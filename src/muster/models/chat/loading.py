"""Loading a model with its own code. Nothing here runs before the user's consent was checked."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import torch
from filelock import FileLock, Timeout
from transformers import AutoConfig, AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import HF_MODULES_CACHE

from muster.core import JSON, ConfigurationError, RunError
from muster.models.chat.options import ChatOptions, class_reference
from muster.models.chat.tiling import Tiling
from muster.models.transformers.loading import check_complete, explained
from muster.models.transformers.quiet import quiet

PARAMETERS = ("tokenizer", "pixel_values", "question", "generation_config")
"""What a `chat` of this kind takes; other models have methods of that name that take something else."""
LOCK_TIMEOUT = 600.0
"""Seconds to wait for another process that copies and imports the model's code."""

GenerationConfig: TypeAlias = "dict[str, JSON]"


class Tokenizer(Protocol):
    """The parts of a tokenizer that are used here; the model's code uses more."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids."""
        ...


class ChatMethod(Protocol):
    """`model.chat` as InternVL's."""

    def __call__(
        self,
        tokenizer: Tokenizer,
        pixel_values: torch.Tensor | None,
        question: str,
        generation_config: GenerationConfig,
        **more: object,
    ) -> str:
        """Answer; `num_patches_list` says how many of the tiles (tiles, 3, size, size) each image has."""
        ...


class ChatCapable(Protocol):
    """The parts of a model that are used."""

    chat: ChatMethod
    device: torch.device
    dtype: torch.dtype
    system_message: str
    """Where it has one."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready to chat."""

    model: ChatCapable
    tokenizer: Tokenizer
    tiling: Tiling
    parameters: frozenset[str]
    """Of its `chat`."""
    context_limit: int | None
    """Tokens of prompt and answer together, where the config says."""


def load(folder: Path, options: ChatOptions, *, gpus: int = 1) -> Loaded:
    """Load what a folder holds, running its code; the layers are spread over as many `gpus`.

    Raises `ConfigurationError` for what the user can change.
    """
    reference = class_reference(folder)
    with quiet():
        try:
            with _one_at_a_time(folder):
                config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
                cls = get_class_from_dynamic_module(reference, str(folder))
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True, use_fast=False)
        except (ConfigurationError, RunError):
            raise
        except Exception as error:
            # Somebody's code: packages it needs, versions of transformers it was written for …
            raise ConfigurationError(
                f"the code that comes with the model in {folder} fails: {type(error).__name__}: {error}"
            ) from error
        parameters = _chat_parameters(cls, folder)
        model = _load_weights(cls, config, folder, options, gpus)
    return Loaded(
        cast("ChatCapable", model), tokenizer, tiling_of(config, options), parameters, _context_limit(config)
    )


def tiling_of(config: object, options: ChatOptions) -> Tiling:
    """As the model's config says; the quick start's values for what it doesn't say."""
    default = Tiling()
    vision = getattr(config, "vision_config", None)
    size = getattr(config, "force_image_size", None) or getattr(vision, "image_size", None) or default.size
    if not getattr(config, "dynamic_image_size", True):
        smallest = largest = 1
    else:
        smallest = getattr(config, "min_dynamic_patch", default.min_num)
        largest = getattr(config, "max_dynamic_patch", default.max_num)
    smallest, largest = options.min_num or smallest, options.max_num or largest
    thumbnail = getattr(config, "use_thumbnail", default.thumbnail)
    if smallest > largest:
        raise ConfigurationError(
            f"an image would be at least {smallest} tiles and at most {largest}: give both min_num and max_num in "
            "--model-args"
        )
    return Tiling(
        int(size),
        smallest,
        largest,
        bool(thumbnail if options.use_thumbnail is None else options.use_thumbnail),
    )


def _one_at_a_time(folder: Path) -> FileLock:
    """Keep other replicas on this node out: transformers copies a model's code into its cache file by file, and imports
    it from there.
    """
    cache = Path(HF_MODULES_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / f".muster-{folder.name}.lock")
    try:
        lock.acquire(timeout=LOCK_TIMEOUT)
    except Timeout as error:
        raise RunError(
            f"waited {LOCK_TIMEOUT:.0f} s for another process that imports the code of {folder} (lock {lock.lock_file})"
        ) from error
    return lock


def _chat_parameters(cls: type, folder: Path) -> frozenset[str]:
    chat = getattr(cls, "chat", None)
    parameters = frozenset(inspect.signature(chat).parameters) if callable(chat) else frozenset()
    missing = [name for name in PARAMETERS if name not in parameters]
    if missing:
        found = f"takes no {', '.join(missing)}" if callable(chat) else "doesn't exist"
        raise ConfigurationError(
            f"the model in {folder} is a {cls.__name__}, whose chat method {found}: --backend chat is for "
            f"chat({', '.join(PARAMETERS)}, …), as InternVL's. For another model write a backend of your own "
            "(docs/own-backend.md)"
        )
    return parameters


def _load_weights(cls: Any, config: object, folder: Path, options: ChatOptions, gpus: int) -> object:
    loading = options.loading
    device = loading.device or ("cuda" if torch.cuda.is_available() else "cpu")
    placement: dict[str, object] = {}
    if loading.device_map is not None:
        placement["device_map"] = loading.device_map
    elif gpus > 1 and device == "cuda":
        placement["device_map"] = "auto"
    elif device != "cpu":
        placement["device_map"] = {"": device}
    try:
        if loading.quantization:
            from transformers import BitsAndBytesConfig

            placement["quantization_config"] = BitsAndBytesConfig(**loading.quantization)
        model, report = _finished(cls).from_pretrained(
            folder,
            config=config,
            dtype=loading.dtype or ("float32" if device == "cpu" else "auto"),
            output_loading_info=True,
            **placement,
            **loading.model,
        )
    except Exception as error:
        raise explained(error, folder, loading) from error
    check_complete(folder, report, allow=loading.incomplete_weights == "allow")
    return model.eval()


def _finished(cls: Any) -> Any:
    """The class, with a constructor that ends as transformers 5 wants it to.

    InternVL's code, and most that was written before, lacks the call of `post_init`, without which `from_pretrained`
    fails ("has no attribute 'all_tied_weights_keys'").
    """

    def construct(self: Any, *args: object, **kwargs: object) -> None:
        cls.__init__(self, *args, **kwargs)
        if not hasattr(self, "all_tied_weights_keys"):
            self.post_init()

    return type(cls.__name__, (cls,), {"__init__": construct, "__module__": cls.__module__})


def _context_limit(config: object) -> int | None:
    for part in (getattr(config, "llm_config", None), getattr(config, "text_config", None), config):
        limit = getattr(part, "max_position_embeddings", None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return None
