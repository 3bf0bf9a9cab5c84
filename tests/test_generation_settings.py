"""What a model's own generation settings may decide: where its answers end, and nothing else.

Guards against scores that depend on what the authors of a checkpoint happened to save: samples that all fail
(`return_dict_in_generate`), answers cut by a clock (`max_time`) or changed (`guidance_scale`), folders that can't be
loaded (`num_return_sequences`), and a field of a newer transformers that nobody has thought about.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from muster.core import ConfigurationError, Generation
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.generation_fields import FIELDS, NEUTRAL, why_not
from muster.models.transformers.generation_settings import loadable_settings, settle
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts

PLAIN: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
NASTY: dict[str, Any] = {
    "max_length": 3,
    "max_new_tokens": 2,
    "min_length": 30,
    "min_new_tokens": 30,
    "early_stopping": True,
    "max_time": 0.0,
    "do_sample": True,
    "num_beams": 4,
    "use_mtp": True,
    "use_cache": False,
    "cache_implementation": "static",
    "cache_config": {"nbits": 2},
    "max_cache_len": 12,
    "temperature": 2.0,
    "top_k": 3,
    "top_p": 0.3,
    "min_p": 0.3,
    "top_h": 0.3,
    "typical_p": 0.3,
    "epsilon_cutoff": 0.3,
    "eta_cutoff": 0.3,
    "encoder_repetition_penalty": 3.0,
    "length_penalty": 3.0,
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[50], [51]],
    "renormalize_logits": True,
    "remove_invalid_values": True,
    "exponential_decay_length_penalty": [1, 9.0],
    "suppress_tokens": [50, 51],
    "begin_suppress_tokens": [50, 51],
    "sequence_bias": [[[50], 9.0]],
    "token_healing": True,
    "guidance_scale": 3.0,
    "watermarking_config": {"bias": 9.0},
    "num_return_sequences": 3,
    "output_attentions": True,
    "output_hidden_states": True,
    "output_scores": True,
    "output_logits": True,
    "return_dict_in_generate": True,
    "encoder_no_repeat_ngram_size": 1,
    "is_assistant": True,
    "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "heuristic",
    "assistant_confidence_threshold": 0.9,
    "prompt_lookup_num_tokens": 3,
    "max_matching_ngram_size": 3,
    "assistant_early_exit": 1,
    "assistant_lookbehind": 3,
    "target_lookbehind": 3,
    "assistant_ensemble_weight": 0.5,
    "speculation_type": "dflash",
    "compile_config": {"dynamic": True},
    "disable_compile": True,
    "continuous_batching_config": {},
    "low_memory": True,
    "penalty_alpha": 0.6,
    "dola_layers": "low",
    "diversity_penalty": 0.5,
    "num_beam_groups": 2,
    "constraints": [1],
    "force_words_ids": [[50]],
    "prefill_chunk_size": 2,
}
"""A value of every field that is reset, which would change answers, fail all of them or can't even be loaded."""
NAMED = ("return_dict_in_generate", "prompt_lookup_num_tokens", "penalty_alpha", "max_time", "guidance_scale")
STOPS = "}"


class _Tokenizer:
    eos_token_id, pad_token_id = 2, 0


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder("llava", tmp_path_factory)


def folder_with(base: Path, folder: Path, settings: dict[str, Any]) -> Path:
    shutil.copytree(base, folder, dirs_exist_ok=True)
    (folder / "generation_config.json").write_text(json.dumps({**PLAIN, **settings}))
    return folder


def load(folder: Path, batching: str = "auto", **args: Any) -> TransformersModel:
    return TransformersModel(ModelSettings(str(folder), {"batching": batching, **args}, batch_size=3))


def said(model: TransformersModel, tokens: int = 12) -> dict[str, str]:
    settings = Generation(max_new_tokens=tokens)
    return texts(
        answers(model, [ask(f"{i}", "what? " * (1 + i % 3), [noise(i)], settings) for i in range(6)])
    )


def test_every_field_of_this_transformers_has_its_place() -> None:
    """A new one would decide answers until somebody notices."""
    assert set(vars(GenerationConfig())) - set(FIELDS) == set()
    assert {name for name, kind in FIELDS.items() if kind not in ("model", "record")} == set(NASTY)


@pytest.mark.parametrize("name", sorted(NASTY))
def test_a_field_that_ends_nothing_leaves_no_trace(tmp_path: Path, name: str) -> None:
    """In whichever file it stands; and what was reset is known by name and value."""
    for file, content in (
        ("generation_config.json", {**PLAIN, name: NASTY[name]}),
        ("config.json", {**PLAIN, name: NASTY[name]}),
        ("config.json", {"text_config": {**PLAIN, name: NASTY[name]}}),
    ):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / file).write_text(json.dumps(content))
        config, unread = loadable_settings(tmp_path)
        assert config is not None
        own = settle(config, _Tokenizer(), {}, unread)
        plain = GenerationConfig(**PLAIN)
        assert settle(plain, _Tokenizer(), {}).reset == {}
        assert config == plain
        assert own.reset == {name: NASTY[name]}
        assert own.end_tokens == {2}


def test_settings_that_change_nothing_are_not_reported(tmp_path: Path) -> None:
    harmless = {name: value for name, value in NEUTRAL.items() if name != "max_length"}
    (tmp_path / "generation_config.json").write_text(
        json.dumps({**PLAIN, **harmless, "output_scores": False})
    )
    config, unread = loadable_settings(tmp_path)
    assert settle(config, _Tokenizer(), {}, unread).described() == ""


@pytest.mark.parametrize("batching", ["static", "auto"])
def test_answers_are_those_of_the_model_without_them(llava: Path, tmp_path: Path, batching: str) -> None:
    """The whole way, with all of them at once: loaded, decoded, and still in continuous batches."""
    model = load(folder_with(llava, tmp_path, NASTY), batching)
    assert model.batched is (batching == "static")
    assert said(model) == said(load(llava, batching))
    assert set(NAMED) <= set(model._loaded.own.reset)
    assert "num_return_sequences (3)" in model._loaded.own.described()


def test_settings_in_config_json_alone(llava: Path, tmp_path: Path) -> None:
    """As older checkpoints have them; transformers reads them where there is no other file."""
    shutil.copytree(llava, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"num_return_sequences": 3, "max_time": 0.0}
    config["text_config"] |= {"penalty_alpha": 0.6, "top_k": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load(tmp_path)
    assert said(model) == said(load(llava))
    assert model._loaded.own.reset.keys() == {"num_return_sequences", "max_time", "penalty_alpha", "top_k"}


@pytest.mark.parametrize("batching", ["static", "auto"])
def test_the_models_own_stop_strings_end_its_answers(llava: Path, tmp_path: Path, batching: str) -> None:
    """transformers alone fails every sample for want of a tokenizer."""
    for value in (STOPS, [STOPS, "zzz"]):
        cut = said(load(folder_with(llava, tmp_path, {"stop_strings": value}), batching))
        whole = said(load(llava, batching))
        assert cut == {key: text.split(STOPS)[0] for key, text in whole.items()}
        assert cut != whole


def test_further_end_tokens_and_a_forced_end(llava: Path, tmp_path: Path) -> None:
    """The forced end takes the place of an answer's last token, whatever the budgets of the rows beside it."""
    whole = said(load(llava), tokens=5)
    cut = said(load(folder_with(llava, tmp_path / "forced", {"forced_eos_token_id": 2})), tokens=5)
    assert all(whole[key].startswith(text) for key, text in cut.items())
    assert {len(whole[key]) - len(text) for key, text in cut.items()} == {1}
    first = load(llava)._loaded.processor.tokenizer("I").input_ids[0]  # type: ignore[operator]
    several = load(folder_with(llava, tmp_path / "ends", {"eos_token_id": [2, first], "pad_token_id": -1}))
    assert several._loaded.own.end_tokens == {2, first}
    until = {key: re.split("(?<=I)", text)[0] for key, text in said(load(llava)).items()}
    assert said(several) == until  # a token that isn't special is shown


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop_strings": [3]}, r"stop_strings is \[3\]: expected a text or a list of texts"),
        ({"eos_token_id": "</s>"}, r"eos_token_id is \"</s>\": expected a token's number or a list"),
        ({"pad_token_id": [0]}, r"pad_token_id is \[0\]: expected a token's number"),
        ({"repetition_penalty": 0}, "repetition_penalty is 0: expected a positive number"),
    ],
)
def test_an_end_that_means_nothing_is_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({**PLAIN, **settings}))
    with pytest.raises(ConfigurationError, match=message):
        loadable_settings(tmp_path)


def test_a_file_that_is_no_settings_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]"):
        (tmp_path / "generation_config.json").write_text(content)
        with pytest.raises(ConfigurationError, match=r"generation_config\.json"):
            loadable_settings(tmp_path)


def test_arguments_that_can_not_be_honoured_are_refused() -> None:
    """As settings in a file they are reset; who types them wants to know."""
    for name in (*NAMED[:4], "num_beams", "watermarking_config", "top_h", "stop_strings"):
        assert why_not(name), name
    for name in (
        "repetition_penalty",
        "no_repeat_ngram_size",
        "guidance_scale",
        "use_cache",
        "suppress_tokens",
    ):
        assert why_not(name) is None
