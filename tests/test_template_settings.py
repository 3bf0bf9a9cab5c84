"""What a chat template is told, `--model-args chat_template.enable_thinking=false`: one spelling for every backend.

Guards against a setting that nobody looks at, and a model that thinks aloud in one backend and not in the other.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from muster.core import JSON, ConfigurationError
from muster.models.api.options import parse_options as parse_api
from muster.models.chat.options import chat_options
from muster.models.openai.backend import OpenAIOptions
from muster.models.protocol import ModelSettings
from muster.models.template_settings import take_template_settings, with_settings
from muster.models.transformers import TransformersModel
from muster.models.transformers.options import parse_options
from muster.models.transformers.processor import load_processor
from muster.models.vllm.options import parse_options as parse_vllm
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts

TEMPLATE = (
    "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}"
    "{% endif %}{% endfor %}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking is false %} briefly{% else %} <think>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = model_folder("llava", tmp_path_factory)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_the_prompt_has_it(folder: Path) -> None:
    turns: list[dict[str, JSON]] = [{"role": "user", "content": [{"type": "text", "text": "why?"}]}]
    prompts = []
    for args in ({}, {"chat_template.enable_thinking": False}, {"chat_template.enable_thinking": True}):
        processor = load_processor(folder, parse_options(args), trust_remote_code=False)
        prompts.append(processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
    assert prompts == ["why? <think>", "why? briefly", "why? <think>"]


@pytest.mark.parametrize("preparation", ["thread", "process"])
def test_answers_are_those_to_the_other_prompt(folder: Path, tmp_path: Path, preparation: str) -> None:
    plain = tmp_path / "plain.jinja"
    plain.write_text(TEMPLATE.replace("enable_thinking is defined and enable_thinking is false", "true"))
    requests = [ask("0", "why?", [noise(0)])]
    said = [
        texts(
            answers(
                TransformersModel(ModelSettings(str(folder), {"preparation": preparation, **args})), requests
            )
        )
        for args in ({"chat_template.enable_thinking": False}, {"chat_template": str(plain)})
    ]
    assert said[0] == said[1]


def test_every_backend_reads_the_same_spelling() -> None:
    spellings: list[dict[str, JSON]] = [
        {"chat_template.enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ]
    for args in spellings:
        assert parse_options(args).template_settings == {"enable_thinking": False}
        assert parse_vllm(args).for_processor.template_settings == {"enable_thinking": False}
        api = parse_api({**args, "extra_body": {"seed": 1, "chat_template_kwargs": {"a": 2}}}, OpenAIOptions)
        assert api.body == {"seed": 1, "chat_template_kwargs": {"a": 2, "enable_thinking": False}}
        with pytest.raises(ConfigurationError, match="the model's own code makes the prompt"):
            chat_options(args)
    assert parse_api({}, OpenAIOptions).body == {}


def test_a_setting_that_nobody_looks_at_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"chat_template\.enable_thoughts: the model's chat template has no"
    ):
        load_processor(folder, parse_options({"chat_template.enable_thoughts": 1}), trust_remote_code=False)
    with pytest.raises(ConfigurationError, match="made with this already"):
        take_template_settings({"chat_template.messages": []})
    with pytest.raises(ConfigurationError, match="of this name"):
        take_template_settings({"chat_template.a-b": 1})
    with pytest.raises(ConfigurationError, match="expected an object"):
        take_template_settings({"chat_template_kwargs": "x"})


@pytest.mark.parametrize(
    "value", [True, None, 3, 0.5, 'a "quoted" {{ text }} %}\n', [1, None], {"a": [True, "é"]}]
)
def test_values_reach_the_template_whole(value: JSON) -> None:
    import jinja2

    rendered = jinja2.Template(with_settings("{{ x | tojson }}", {"x": value})).render()
    assert json.loads(rendered) == value
