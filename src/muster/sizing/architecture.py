"""The shapes that memory depends on: layers, heads and widths of the language model and of the vision tower."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muster.core import JSON, ConfigurationError
from muster.sizing.checkpoint import Config
from muster.sizing.class_defaults import PARTS, TENSOR_PARALLEL, TEXT, VISION

LARGEST_SIZE = 2**24
"""Elements; more is a mistake in a file."""
MOST_LAYERS = 4096
"""Layers, and heads of a layer."""
FULL: None = None
"""A layer whose cache grows with every token."""


@dataclass(frozen=True, slots=True)
class TextShape:
    """A language model. Sizes in elements."""

    model_type: str
    layers: int
    hidden: int
    mlp: int
    """Width of the feed-forward network that one token goes through; of all its experts where there are several."""
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int | None
    """Tokens of prompt and answer together that the model was made for, where it says."""
    windows: tuple[int | None, ...] = ()
    """Per layer, how many tokens its cache keeps (sliding attention), or `FULL`. Empty: all full."""
    experts: int = 1

    @property
    def has_tensor_plan(self) -> bool:
        """Whether transformers is known to have a tensor-parallel plan for it."""
        return self.model_type in TENSOR_PARALLEL


@dataclass(frozen=True, slots=True)
class VisionShape:
    """A vision tower. Sizes in elements, image sizes in pixels."""

    model_type: str
    layers: int
    hidden: int
    mlp: int
    patch: int
    image: int | None
    """Edge of the square images it was made for; None where it takes any."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a config.json says, with the defaults of its classes filled in."""

    family: str
    """Its `model_type`."""
    text: TextShape
    vision: VisionShape | None
    dtype: str | None
    """The dtype that the configuration names at its top, as torch spells it: what transformers loads by itself."""
    tied: bool
    """It says outright that the output layer shares the weights of the token embedding."""


def read_architecture(config: Config) -> Architecture:
    """The shapes in a configuration.

    Raises:
        ConfigurationError: a size that neither it nor the defaults of its class tell; says which.
    """
    family = str(config.get("model_type", ""))
    text_type, vision_type = PARTS.get(family, ("", ""))
    text = next(
        (
            _mapping(config, name)
            for name in ("text_config", "llm_config", "language_config")
            if name in config
        ),
        {},
    )
    vision = _mapping(config, "vision_config")
    dtype = config.get("dtype") or config.get("torch_dtype")
    return Architecture(
        family=family,
        text=_text_shape(
            {**config, **text} if text else config, str(text.get("model_type") or text_type or family)
        ),
        vision=_vision_shape(vision, str(vision.get("model_type") or vision_type), vision_type)
        if vision
        else None,
        dtype=dtype if isinstance(dtype, str) else None,
        tied=bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
    )


def _mapping(config: Config, name: str) -> Config:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _text_shape(config: Config, model_type: str) -> TextShape:
    values = _Values(config, TEXT.get(model_type, {}), f"language model ({model_type or 'of unknown type'})")
    heads = values.need("num_attention_heads", "n_head", most=MOST_LAYERS)
    layers = values.need("num_hidden_layers", "n_layer", most=MOST_LAYERS)
    hidden = values.need("hidden_size", "n_embd")
    per_token = values.get("num_experts_per_tok") or 1
    expert = values.get("moe_intermediate_size")
    return TextShape(
        model_type=model_type,
        layers=layers,
        hidden=hidden,
        mlp=per_token * expert if expert else per_token * values.need("intermediate_size"),
        heads=heads,
        kv_heads=values.checked(
            "num_key_value_heads", values.get("num_key_value_heads") or heads, MOST_LAYERS
        ),
        head_size=values.get("head_dim") or hidden // heads,
        vocabulary=values.need("vocab_size"),
        context=values.get("max_position_embeddings"),
        windows=_windows(config, values, layers),
        experts=values.get("num_experts", "num_local_experts", "n_routed_experts") or 1,
    )


def _windows(config: Config, values: _Values, layers: int) -> tuple[int | None, ...]:
    """Sliding layers where the configuration names them; everything else counts as full, which is the upper bound."""
    window = values.get("sliding_window")
    types = config.get("layer_types")
    if window is None:
        return ()
    if isinstance(types, list) and len(types) == layers:
        return tuple(window if kind == "sliding_attention" else FULL for kind in types)
    pattern = values.get("sliding_window_pattern", "_sliding_window_pattern")
    if pattern:  # Gemma 3 before layer_types: every sixth layer is full
        return tuple(window if (layer + 1) % pattern else FULL for layer in range(layers))
    return ()


def _vision_shape(config: Config, model_type: str, fallback: str) -> VisionShape:
    defaults = VISION.get(model_type) or VISION.get(fallback, {})
    values = _Values(config, defaults, f"vision tower ({model_type or 'of unknown type'})")
    # Qwen2-VL calls its own width embed_dim, and that of the language model hidden_size.
    hidden = values.need("embed_dim", "hidden_size")
    ratio = config.get("mlp_ratio", defaults.get("mlp_ratio"))
    wider = ratio if isinstance(ratio, int | float) and 0 < ratio <= MOST_LAYERS else 4
    mlp = values.get("intermediate_size") or int(hidden * wider)
    return VisionShape(
        model_type=model_type,
        layers=values.need("depth", "num_hidden_layers", most=MOST_LAYERS),
        hidden=hidden,
        mlp=mlp,
        patch=values.need("patch_size"),
        image=values.get("image_size"),
    )


class _Values:
    """Whole numbers of a configuration, with defaults; a pair of equal ones counts as one."""

    def __init__(self, config: Config, defaults: Mapping[str, int], whose: str) -> None:
        self._config = config
        self._defaults = defaults
        self._whose = whose

    def get(self, *names: str) -> int | None:
        """The first of these that is said, else the first that has a default, else None.

        Raises `ConfigurationError` for a size that is larger than any model's.
        """
        for name in names:
            value = _whole(self._config.get(name))
            if value is not None:
                return self.checked(name, value)
        return next(
            (self._defaults[name] for name in names if name in self._defaults and name not in self._config),
            None,
        )

    def need(self, *names: str, most: int = LARGEST_SIZE) -> int:
        """As `get`; raises `ConfigurationError` where nothing says it, or it is more than `most`."""
        value = self.get(*names)
        if value is None:
            raise ConfigurationError(
                f"config.json doesn't say {names[0]} of the {self._whose}, and Muster doesn't know its default"
            )
        return self.checked(names[0], value, most)

    def checked(self, name: str, value: int, most: int = LARGEST_SIZE) -> int:
        """The value; raises `ConfigurationError` where it is larger than any model's."""
        if value > most:
            raise ConfigurationError(
                f"config.json says {name} = {value} of the {self._whose}, which can't be"
            )
        return value


def _whole(value: JSON) -> int | None:
    """A size; None for what can't be one."""
    if isinstance(value, list) and value and value[0] == value[-1]:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
