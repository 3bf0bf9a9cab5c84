"""Shapes read from configurations, and how many tokens images become, against transformers' own classes.

Guards against configurations that leave things out (LLaVA-1.5 doesn't say how many layers its Llama has), classes whose
defaults change, and image processors that count otherwise than the plan does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muster.core import JSON, ConfigurationError
from muster.sizing.architecture import read_architecture
from muster.sizing.checkpoint import Checkpoint, Tensor, read_folder
from muster.sizing.class_defaults import PARTS, TENSOR_PARALLEL, TEXT, VISION
from muster.sizing.demand import assumed_demand
from muster.sizing.fit import Gpus
from muster.sizing.image_grids import ImageSize
from muster.sizing.image_tokens import image_rule
from muster.sizing.plan import describe, make_plan
from sizing_models import CONFIGS, LLAVA_1_5_7B, LLAVA_NEXT_34B, PINPOINTS, QWEN2_5_VL_7B
from tiny_models import FAMILIES, model_folder


def first(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("model_type", [*TEXT, *VISION])
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]()
    for name, value in {**TEXT, **VISION}[model_type].items():
        assert first(getattr(config, name)) == value, name
    for name in ("head_dim", "num_key_value_heads"):
        if model_type in TEXT and name not in TEXT[model_type]:
            derived = {"head_dim": config.hidden_size // config.num_attention_heads}
            own = getattr(config, name, None)
            assert own in (None, derived.get(name, config.num_attention_heads)), name
    if model_type in TEXT:
        plan = config.base_model_tp_plan or {}
        assert ("layers.*.self_attn.q_proj" in plan) == (model_type in TENSOR_PARALLEL)


@pytest.mark.parametrize("family", PARTS)
def test_the_parts_of_families_are_those_of_transformers(family: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[family]()
    assert (config.get_text_config().model_type, config.vision_config.model_type) == PARTS[family]


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_agree_with_the_configuration_that_transformers_reads(name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[name]), encoding="utf-8")
    real = AutoConfig.from_pretrained(tmp_path)
    text, vision = real.get_text_config(), real.vision_config
    mine = read_architecture(CONFIGS[name])
    experts = getattr(text, "num_experts_per_tok", None)
    assert (mine.text.layers, mine.text.hidden, mine.text.vocabulary) == (
        text.num_hidden_layers, text.hidden_size, text.vocab_size,
    )  # fmt: skip
    assert (mine.text.heads, mine.text.kv_heads) == (text.num_attention_heads, text.num_key_value_heads)
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    assert mine.text.head_size == head_size
    assert mine.text.mlp == (experts * text.moe_intermediate_size if experts else text.intermediate_size)
    assert mine.text.context == text.max_position_embeddings
    kinds = getattr(text, "layer_types", None) or []
    windows = [text.sliding_window if kind == "sliding_attention" else None for kind in kinds]
    assert list(mine.text.windows) == (windows if any(windows) else [])
    assert mine.vision is not None
    assert mine.vision.patch == first(vision.patch_size)
    assert mine.vision.layers == getattr(vision, "depth", None) or vision.num_hidden_layers
    assert mine.vision.hidden == getattr(vision, "embed_dim", vision.hidden_size)
    assert str(mine.dtype) == str(real.dtype).removeprefix("torch.")


def test_what_neither_says_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigurationError, match="num_attention_heads of the language model \\(newthing\\)"):
        read_architecture({"model_type": "newthing_vl", "text_config": {"model_type": "newthing"}})


def count_of_processor(processor: Any, family: str, size: ImageSize) -> int:
    """Tokens that a real image of this size adds to a real prompt."""
    from PIL import Image

    markers = {"qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>", "internvl": "<IMG_CONTEXT>"}
    marker = markers.get(family.replace("qwen3", "qwen2_5"), "<image>")
    inputs = processor(text=[marker], images=[Image.new("RGB", size)], return_tensors="pt")
    nothing = processor.tokenizer("")["input_ids"]
    around = processor.tokenizer.convert_tokens_to_ids(["<s>", "Ċ"]) if family == "paligemma" else []
    return sum(token not in around for token in inputs["input_ids"][0].tolist()) - len(nothing)


_rules: dict[str, Any] = {}


def rule_and_processor(family: str, factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    if family not in _rules:
        from muster.models.transformers.options import Options
        from muster.models.transformers.processor import load_processor

        folder = model_folder(family, factory)
        checkpoint = read_folder(folder)
        rule = image_rule(read_architecture(checkpoint.config), checkpoint.config, checkpoint.processor)
        _rules[family] = rule, load_processor(folder, Options(), trust_remote_code=False)
    return _rules[family]  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 200), height=st.integers(1, 200))
@example(width=199, height=1)
@example(width=16, height=16)
def test_image_tokens_are_those_of_the_processor(
    family: str, tmp_path_factory: pytest.TempPathFactory, width: int, height: int
) -> None:
    size = ImageSize(width, height)
    rule, processor = rule_and_processor(family, tmp_path_factory)
    tokens = rule.cost(size).tokens
    assert tokens == count_of_processor(processor, family, size)
    if max(size) <= 4 * min(size):  # what is thinner may exceed the limit of pixels, which is tiny here
        assert tokens <= rule.most.tokens


SAVED: list[tuple[str, dict[str, JSON], dict[str, JSON]]] = [
    ("internvl", {"crop_to_patches": False}, {}),
    ("internvl", {"min_patches": 2, "max_patches": 4}, {}),
    ("internvl", {"size": {"height": 32, "width": 32}}, {}),
    ("llava", {"crop_size": {"height": 24, "width": 24}}, {}),
    ("llava", {"do_center_crop": False}, {}),
    ("llava", {}, {"vision_feature_select_strategy": "full"}),
    ("llava", {}, {"num_additional_image_tokens": 0}),
    ("llava", {}, {"num_additional_image_tokens": 0, "vision_feature_select_strategy": "full"}),
    ("llava_next", {}, {"vision_feature_select_strategy": "full"}),
    ("llava_next", {}, {"num_additional_image_tokens": 0}),
    ("llava_next", {"do_pad": False, "image_grid_pinpoints": [[32, 32], [16, 64]]}, {}),
    ("qwen2_5_vl", {"size": {"shortest_edge": 4096, "longest_edge": 16384}}, {}),
    ("qwen2_5_vl", {"min_pixels": 4096, "max_pixels": 16384}, {}),
    ("qwen3_vl", {"size": {"shortest_edge": 4096, "longest_edge": 16384}}, {}),
    ("idefics3", {"do_image_splitting": False}, {}),
    ("idefics3", {"size": {"longest_edge": 64}, "return_row_col_info": False}, {}),
    ("paligemma", {"image_seq_length": 9, "size": {"height": 32, "width": 32}}, {}),
]
"""Settings saved for the image processor and for the processor around it, of which the classes override some."""


@pytest.mark.parametrize(("family", "image", "around"), SAVED)
def test_saved_settings_count_as_far_as_the_processor_obeys_them(
    family: str, image: dict[str, JSON], around: dict[str, JSON], tmp_path: Path, tmp_path_factory: Any
) -> None:
    """InternVL's class overrides a saved `crop_to_patches: false`: 258 tokens were planned for what took 3,330."""
    from muster.models.transformers.options import Options
    from muster.models.transformers.processor import load_processor

    folder = tmp_path / "model"
    shutil.copytree(model_folder(family, tmp_path_factory), folder)
    file = folder / "processor_config.json"
    saved = json.loads(file.read_text())
    saved["image_processor"].update(image)
    file.write_text(json.dumps({**saved, **around}))
    checkpoint = read_folder(folder)
    rule = image_rule(read_architecture(checkpoint.config), checkpoint.config, checkpoint.processor)
    processor = load_processor(folder, Options(), trust_remote_code=False)
    for size in (ImageSize(64, 48), ImageSize(16, 16), ImageSize(100, 20), ImageSize(130, 170)):
        assert rule.cost(size).tokens == count_of_processor(processor, family, size), size


def test_what_the_user_says_goes_before_the_processors_class(tmp_path_factory: Any) -> None:
    """`--model-args crop_to_patches=false` was taken, and without effect."""
    from muster.models.transformers.options import Options
    from muster.models.transformers.processor import load_processor

    folder = model_folder("internvl", tmp_path_factory)
    size = ImageSize(64, 48)
    cut, whole = (
        count_of_processor(
            load_processor(folder, Options(processor=args), trust_remote_code=False), "internvl", size
        )
        for args in ({}, {"crop_to_patches": False})
    )
    assert whole < cut


def test_internvls_own_code_asks_its_configuration() -> None:
    config = {**CONFIGS["internvl3-8b"], "model_type": "internvl_chat"}
    size = ImageSize(1344, 1344)
    for settings_, tokens in (
        ({}, 10 * 256 + 2),
        ({"use_thumbnail": False}, 9 * 256 + 2),
        ({"dynamic_image_size": False}, 258),
    ):
        rule = image_rule(read_architecture({**config, **settings_}), {**config, **settings_}, {})
        assert rule.cost(size).tokens == tokens


KNOWN = [
    (LLAVA_1_5_7B, {}, ImageSize(640, 480), 576),
    (LLAVA_NEXT_34B, {"image_grid_pinpoints": PINPOINTS}, ImageSize(672, 672), 576 + 48 * 49),
    (LLAVA_NEXT_34B, {}, ImageSize(1000, 333), 576 + 24 * 73),
    (QWEN2_5_VL_7B, {"min_pixels": 3136, "max_pixels": 12845056}, ImageSize(1280, 960), 46 * 34 + 2),
    (QWEN2_5_VL_7B, {"min_pixels": 3136, "max_pixels": 12845056}, ImageSize(3584, 3584), 16384 + 2),
    (CONFIGS["internvl3-8b"], {"crop_to_patches": True, "max_patches": 12}, ImageSize(1344, 1344), 10 * 256 + 2),
    (CONFIGS["smolvlm"], {"max_image_size": {"longest_edge": 384}, "size": {"longest_edge": 1536}}, ImageSize(800, 800),
     4 * (4 * (81 + 2) + 1) + 81 + 3 + 1),
    (CONFIGS["paligemma-3b"], {}, ImageSize(10, 900), 256),
]  # fmt: skip
"""Configurations, and counts worked out by hand from the papers' and the cards' descriptions."""


@pytest.mark.parametrize(("config", "processor", "size", "tokens"), KNOWN)
def test_known_counts(config: Any, processor: Any, size: ImageSize, tokens: int) -> None:
    assert image_rule(read_architecture(config), config, processor).cost(size).tokens == tokens


def test_an_unknown_family_gets_an_upper_bound_with_its_reason() -> None:
    config = {**LLAVA_NEXT_34B, "model_type": "newthing"}
    rule = image_rule(read_architecture(config), config, {})
    assert not rule.exact
    assert "newthing" in rule.reason
    assert rule.most.tokens == 4096


NONSENSE: list[JSON] = [None, 0, -1, 2.5, 1e300, 10**30, float("inf"), "x", [], [1, 2], {}, {"a": 1}, True]
PROCESSOR: dict[str, JSON] = {
    "size": {"shortest_edge": 3136}, "max_image_size": {"longest_edge": 364}, "crop_size": {"height": 336},
    "min_pixels": 3136, "max_pixels": 12845056, "merge_size": 2, "image_grid_pinpoints": [[336, 672]],
    "min_patches": 1, "max_patches": 12, "image_seq_length": 256, "scale_factor": 2, "image_seq_len": 64,
}  # fmt: skip
TENSORS = (
    Tensor("model.embed_tokens.weight", "BF16", (32000, 64)),
    Tensor("lm_head.weight", "BF16", (32000, 64)),
)


def places(settings: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Of all values in an object and in those within it."""
    found = []
    for name, value in settings.items():
        found.append((*above, name))
        found += places(value, (*above, name)) if isinstance(value, dict) else []
    return found


def replaced(settings: Mapping[str, Any], place: tuple[str, ...], value: JSON) -> dict[str, Any]:
    first, *rest = place
    return {**settings, first: replaced(settings[first], tuple(rest), value) if rest else value}


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_nonsense_in_a_file_is_an_error_that_says_so(name: str) -> None:
    """A plan divided by a `patch_size` of 0, and counted the divisors of 10³⁰ heads until somebody gave up."""
    config = CONFIGS[name]
    for value in NONSENSE:
        broken = [(replaced(config, place, value), PROCESSOR) for place in places(config)]
        broken += [(config, replaced(PROCESSOR, place, value)) for place in places(PROCESSOR)]
        for its_config, its_processor in broken:
            with suppress(ConfigurationError):
                described = describe(Checkpoint("a model", its_config, its_processor, TENSORS, "headers"))
                demand = assumed_demand(described.rule, limit=described.architecture.text.context)
                plan = make_plan(described, demand, Gpus(8, 24 * 2**30))
                assert all(0 <= fit.needed < 2**80 for fit in plan.fits)


def test_what_can_not_be_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"num_key_value_heads = 10+ of the language model"):
        read_architecture(replaced(QWEN2_5_VL_7B, ("num_key_value_heads",), 10**30))
    with pytest.raises(ConfigurationError, match="of images that can't be for a model of type qwen2_5_vl"):
        image_rule(read_architecture(QWEN2_5_VL_7B), QWEN2_5_VL_7B, {"merge_size": 0})
