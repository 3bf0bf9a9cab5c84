"""Whether a model can be divided among K processes, read off its configuration before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from muster.core import ConfigurationError

QUERY_LAYERS = ("q_proj", "q_b_proj", "qkv_proj", "query_key_value")
KEY_LAYERS = ("k_proj", "qkv_proj", "query_key_value")
"""Layers whose output holds attention keys: transformers cuts them between heads, and not within one."""


class TextConfig(Protocol):
    """The parts of a language model's configuration that are read."""

    model_type: str
    base_model_tp_plan: Mapping[str, str] | None
    num_attention_heads: int | Sequence[int]
    """Of all layers, or of each; it may be missing, as `num_key_value_heads` may."""


def check_division(model: str, revision: str | None, size: int, *, trust_remote_code: bool) -> None:
    """Read a model's configuration, from a folder or the hub, and `check_heads`.

    A configuration that can't be had is not this function's to explain: whoever fetches the model will.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            model,
            trust_remote_code=trust_remote_code,
            **({} if Path(model).is_dir() else {"revision": revision}),
        )
    except (OSError, ValueError):
        return
    check_heads(cast("TextConfig", config.get_text_config()), size)


def divide_tied_output(folder: Path, *, trust_remote_code: bool) -> None:
    """Have the output layer divided where it shares its weights with embeddings that are.

    Before 5.20, transformers' classes of models with images don't say so themselves, and each answer fails.
    """
    import transformers

    if tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 20):
        return
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    plan = config.get_text_config().base_model_tp_plan or {}
    if not getattr(config, "tie_word_embeddings", False) or "embed_tokens" not in plan:
        return
    for name in getattr(config, "architectures", None) or ():
        kind = getattr(transformers, name, None)
        if kind is not None and not getattr(kind, "_tp_plan", True):
            kind._tp_plan = {"lm_head": "colwise_gather_output"}


def check_heads(text: TextConfig, size: int) -> None:
    """Raise `ConfigurationError` unless transformers can divide this language model among `size` processes.

    Loading itself succeeds in both cases that are refused, and every answer fails later, or the memory of one GPU
    is used up on all of them (seen with transformers 5.23). Vision towers are not divided: every process has all of it.
    """
    plan = text.base_model_tp_plan or {}
    if not plan:
        raise ConfigurationError(
            f"--parallelism tensor: transformers has no tensor-parallel plan for a {text.model_type}: use "
            "--parallelism device-map"
        )
    divided = {name.rsplit(".", 1)[-1] for name, style in plan.items() if style.startswith("colwise")}
    heads = getattr(text, "num_attention_heads", None)
    counts: list[tuple[int, str]] = []
    if divided.intersection(QUERY_LAYERS):
        counts += [(count, "attention heads") for count in _each(heads)]
    if divided.intersection(KEY_LAYERS):
        key_heads = getattr(text, "num_key_value_heads", None) or heads
        counts += [(count, "key and value heads") for count in _each(key_heads)]
    for count, what in counts:
        if count % size:
            fitting = [k for k in range(2, 65) if all(each % k == 0 for each, _ in counts)]
            advice = f"--gpus-per-replica {' or '.join(map(str, fitting))}, or " if fitting else ""
            raise ConfigurationError(
                f"--gpus-per-replica {size} --parallelism tensor: {size} doesn't divide the {count} {what} of this "
                f"{text.model_type}. Use {advice}--parallelism device-map"
            )


def _each(heads: int | Sequence[int] | None) -> Sequence[int]:
    return () if heads is None else (heads,) if isinstance(heads, int) else heads
