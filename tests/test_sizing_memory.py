"""The KV cache against real caches, and the activation estimate against real peaks.

Guards against a plan that leaves no room: a cache of the wrong heads, sliding layers that are counted as full, an
estimate that a new version of transformers has outgrown.
"""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.planner import LiveTensors, build, cases, main, measure, weights
from muster.sizing.architecture import read_architecture
from muster.sizing.memory import Demand, activation_bytes, cache_bytes, cache_bytes_per_token
from sizing_models import GEMMA3_27B, LLAVA_NEXT_34B, QWEN2_5_VL_7B

TINY: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "vocab_size": 64}


def real_cache_bytes(config: Any, batch: int, tokens: int) -> int:
    """Bytes of the cache after `tokens` tokens, prompt and answer, as `generate` leaves it."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(3, 60, (batch, tokens - 3))
    made = model.generate(
        ids, max_new_tokens=4, min_new_tokens=4, do_sample=False, return_dict_in_generate=True, pad_token_id=0
    )
    cache = made.past_key_values  # the last token was answered, and never asked about
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


@pytest.mark.parametrize(("batch", "tokens"), [(1, 9), (3, 40)])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text"])
def test_the_cache_is_as_large_as_a_real_one(family: str, batch: int, tokens: int) -> None:
    from transformers import CONFIG_MAPPING

    sizes = {**TINY, "num_attention_heads": 4, "num_key_value_heads": 2}
    if family == "gemma3_text":
        sizes |= {"head_dim": 24, "sliding_window": 16, "num_hidden_layers": 7}
    config = CONFIG_MAPPING[family](**sizes)
    text = read_architecture({"model_type": "x", "text_config": config.to_dict()}).text
    assert cache_bytes(text, 4, batch, tokens) == real_cache_bytes(config, batch, tokens)


def test_bytes_per_token_of_known_models() -> None:
    """2 × layers × key-value heads × head size × bytes."""
    assert cache_bytes_per_token(read_architecture(LLAVA_NEXT_34B).text, 2) == 2 * 60 * 8 * 128 * 2
    assert cache_bytes_per_token(read_architecture(LLAVA_NEXT_34B).text, 2, split=2) == 2 * 60 * 4 * 128 * 2
    assert cache_bytes_per_token(read_architecture(QWEN2_5_VL_7B).text, 2) == 2 * 28 * 4 * 128 * 2
    gemma = read_architecture(GEMMA3_27B).text
    assert cache_bytes_per_token(gemma, 2) == 2 * 10 * 16 * 128 * 2  # ten of its layers keep everything
    assert cache_bytes(gemma, 2, 1, 5000) == 2 * (10 * 5000 + 52 * 1023) * 16 * 128 * 2


@pytest.mark.parametrize("index", [0, 1], ids=["llava", "qwen"])
def test_no_forward_pass_needs_more_than_was_estimated(index: int) -> None:
    import torch

    case = cases(small=True)[index]
    model = build(case, torch.device("cpu"), torch.bfloat16)
    loaded = weights(case, model)
    assert loaded.predicted == loaded.measured
    for batch, text, answer in ((1, 16, 2), (1, 400, 2), (3, 100, 3)):
        outcome = measure(case, model, batch, text, answer, LiveTensors())
        assert 0.5 < outcome.ratio <= 1, (batch, text)


def test_the_benchmark_meets_its_aim_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    printed = capsys.readouterr().out
    assert "| LLaVA, weights |" in printed
    assert "met" in printed


def test_the_meter_counts_what_is_alive_at_the_same_time() -> None:
    import torch

    with LiveTensors() as meter:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second + 1
        view = third[10:]
    assert meter.peak == 2 * 4000, view.shape


def test_more_of_anything_never_needs_less() -> None:
    architecture = read_architecture(LLAVA_NEXT_34B)
    base = Demand(2, 3000, 100, 2885)
    at = activation_bytes(architecture, 2, base)
    assert activation_bytes(architecture, 2, Demand(4, 3000, 100, 2885)) > at
    assert activation_bytes(architecture, 2, Demand(2, 4000, 100, 2885)) > at
    assert activation_bytes(architecture, 2, Demand(2, 3000, 100, 20_000)) > at
    assert activation_bytes(architecture, 4, base) > at
    assert activation_bytes(architecture, 2, base, split=2) < at
