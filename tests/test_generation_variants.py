"""Settings that reports use.

Guards against a variant that leaves a benchmark at 128 tokens, or that goes before what a user said.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import muster
from muster.config import RunConfig
from muster.core import ConfigurationError, Generation
from muster.planning import plan
from muster.tasks.generation_variants import generation_variants, in_generation_variant
from muster.tasks.registry import list_tasks


def test_a_benchmark_has_the_settings_that_are_published_for_it() -> None:
    own = Generation(max_new_tokens=16, stop=("\n",), seed=7)
    assert in_generation_variant("ai2d", own, None) == own
    usual = in_generation_variant("ai2d", own, "qwen3_vl_thinking")
    assert usual == Generation(40960, 0.6, 0.95, 20, ("\n",), 1234)
    assert in_generation_variant("mmmu", own, "qwen3_vl_thinking") == Generation(
        40960, 1.0, 0.95, 20, ("\n",), 1234
    )
    assert in_generation_variant("videomme", own, "qwen3_vl_thinking").max_new_tokens == 32768


def test_options_of_a_run_go_before_a_variant() -> None:
    config = RunConfig(
        model="demo", tasks=["digits_read"], limit=1, generation_variant="qwen3_vl_thinking", temperature=0.0
    )
    (planned,) = plan(config)
    assert planned.generation == Generation(40960, 0.0, 0.95, 20, seed=1234)


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"did you mean 'qwen3_vl_thinking'.*There are qwen3_vl_thinking"
    ):
        in_generation_variant("ai2d", Generation(), "qwen3_vl_thinkin")


def test_a_run_is_not_resumed_with_another_variant(tmp_path: Path) -> None:
    """It is part of the fingerprint by what it sets."""
    output = tmp_path / "run"
    muster.evaluate("demo", "digits_read", output=output, limit=2, generation_variant="qwen3_vl_thinking")
    manifest = json.loads((output / "manifest.json").read_text())
    settings = manifest["tasks"]["digits_read"]["fingerprint"]["generation"]
    assert (settings["max_new_tokens"], settings["temperature"], settings["top_k"]) == (40960, 0.6, 20)
    assert manifest["config"]["generation_variant"] == "qwen3_vl_thinking"
    with pytest.raises(ConfigurationError, match="max_new_tokens"):
        muster.evaluate("demo", "digits_read", output=output, limit=2)


def test_each_variant_names_its_source_and_benchmarks_that_there_are() -> None:
    names = {listing.name for listing in list_tasks()}
    page = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name, variant in generation_variants().items():
        assert set(variant.tasks) <= names
        assert f"`{name}`" in page
        assert variant.source.split(" (")[0] in page
        assert variant.generation.max_new_tokens
