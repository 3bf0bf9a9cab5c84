"""Models with their own code: what reaches their chat method, what becomes of errors, and that consent comes first."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors.torch import save_file

from chat_models import write_chat_model
from muster.core import (
    JSON,
    Completion,
    ConfigurationError,
    Generation,
    Message,
    Part,
    ReplicaError,
    Request,
    RequestKey,
    RunError,
)
from muster.models.chat import ChatModel
from muster.models.protocol import ModelSettings
from processes import start, write_benchmark
from tiny_requests import ListStream, ask, noise


@pytest.fixture(scope="module", autouse=True)
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for the models' code that is this module's own."""
    from transformers import dynamic_module_utils

    from muster.models.chat import loading

    cache = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(cache))
        patch.setattr(loading, "HF_MODULES_CACHE", str(cache))
        patch.setattr(sys, "path", [*sys.path])
        yield cache
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chat")
    return write_chat_model(place / "echo", place / "ran")


def load(folder: Path, args: Mapping[str, JSON] | None = None, *, trust: bool = True) -> ChatModel:
    given = {"device": "cpu", **(args or {})}
    return ChatModel(ModelSettings(str(folder), args=given, trust_remote_code=trust))


@pytest.fixture(scope="module")
def model(folder: Path) -> ChatModel:
    return load(folder)


def completions(model: ChatModel, *requests: Request) -> dict[str, Completion]:
    return {completion.key.sample_id: completion for completion in model.generate(ListStream(requests))}


def said(model: ChatModel, request: Request) -> Mapping[str, Any]:
    [completion] = completions(model, request).values()
    assert completion.text is not None, completion.failure
    answer: Mapping[str, Any] = json.loads(completion.text)
    return answer


def test_without_consent_none_of_its_code_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    folder = write_chat_model(tmp_path / "echo", marker)
    with pytest.raises(ConfigurationError, match="--trust-remote-code"):
        load(folder, trust=False)
    assert not marker.exists()
    task = write_benchmark(tmp_path, 2)
    run = start(tmp_path / "run", "--model", str(folder), "--backend", "chat", "--tasks", str(task))
    assert run.wait() == 2
    assert "--trust-remote-code" in run.stderr
    assert not marker.exists()
    assert not run.output.exists()  # it was said before anything was started
    load(folder)
    assert marker.exists()  # so its absence means something


def test_images_arrive_as_tiles_and_are_told_apart(model: ChatModel) -> None:
    request = ask("two", "Which is wider?", [noise(1, 28, 28), noise(2, 112, 28)])
    answer = said(model, request)
    assert answer["question"] == "Image-1: <image>\nImage-2: <image>\nWhich is wider?"
    assert answer["num_patches_list"] == [1, 5]  # four side by side, and the thumbnail
    assert answer["pixels"] == [6, 3, 28, 28]
    assert len(set(answer["means"])) == 6
    assert answer["history"] is None
    assert answer["generation"] == {
        "max_new_tokens": 12,
        "do_sample": False,
        "num_beams": 1,
        "eos_token_id": 1,
    }
    other = said(model, ask("two", "Which is wider?", [noise(2, 112, 28), noise(1, 28, 28)]))
    assert other["num_patches_list"] == [5, 1]
    assert other["means"] == answer["means"][1:] + answer["means"][:1]


def test_a_question_without_images_has_no_pixels(model: ChatModel) -> None:
    answer = said(model, ask("text", "What is two and two?"))
    assert answer["num_patches_list"] == []
    assert "pixels" not in answer


def test_turns_and_system_message_reach_the_model_for_one_question_only(model: ChatModel) -> None:
    turns = [("user", "What is it?"), ("assistant", "A cat."), ("user", "Sure?")]
    messages = [Message(role, (Part(text=text),)) for role, text in [("system", "Be brief."), *turns]]  # type: ignore[arg-type]
    answer = said(model, Request(RequestKey("tiny", "turns"), tuple(messages)))
    assert answer["history"] == [["What is it?", "A cat."]]
    assert answer["question"] == "Sure?"
    assert answer["system"] == "Be brief."
    assert said(model, ask("next", "And now?"))["system"] == "You see tiles."


def test_arguments_go_to_tiling_generation_and_model(folder: Path) -> None:
    tiling: dict[str, JSON] = {"min_num": 2, "max_num": 2, "use_thumbnail": False}
    model = load(folder, tiling | {"generation_repetition_penalty": 1.2, "use_flash_attn": False})
    answer = said(model, ask("one", "?", [noise(1, 100, 20)]))
    assert answer["num_patches_list"] == [2]
    assert answer["generation"]["repetition_penalty"] == 1.2
    assert answer["flash"] is False


def test_a_config_without_dynamic_tiling_means_one_tile(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "still", tmp_path / "ran", dynamic_image_size=False)
    assert said(load(folder), ask("one", "?", [noise(1, 112, 28)]))["num_patches_list"] == [1]


def test_sampled_answers_depend_on_the_request_alone(model: ChatModel) -> None:
    hot = Generation(temperature=0.7, top_p=0.9, seed=3)
    requests = [ask(name, "?", generation=hot) for name in "abc"]
    forth = completions(model, *requests)
    back = completions(model, *reversed(requests))
    assert [forth[name].text for name in "abc"] == [back[name].text for name in "abc"]
    assert len({json.loads(forth[name].text or "")["draw"] for name in "abc"}) == 3
    settings = json.loads(forth["a"].text or "")["generation"]
    assert (settings["temperature"], settings["top_p"], settings["top_k"]) == (0.7, 0.9, 0)


def test_an_answer_ends_before_its_stop_string(model: ChatModel) -> None:
    request = ask("stop", "Say it", generation=Generation(stop=('", "', "nowhere")))
    [completion] = completions(model, request).values()
    assert completion.text == '{"question": "Say it'
    assert completion.usage.completion_tokens is not None
    assert completion.seconds is not None


def test_a_sample_fails_alone(model: ChatModel) -> None:
    found = completions(
        model,
        ask("code", "break"),
        ask("memory", "out of memory"),
        ask("long", "word " * 200),
        ask("tiles", "?", [noise(1, 56, 56)] * 30),
        ask("good", "?"),
    )
    failures = {name: completion.failure for name, completion in found.items() if completion.failure}
    assert {name: failure.kind for name, failure in failures.items()} == {
        "code": "sample", "memory": "transient", "long": "sample", "tiles": "sample"
    }  # fmt: skip
    assert "this one can't be answered" in failures["code"].message
    assert "the model's context is 512" in failures["long"].message
    assert "max_num" in failures["tiles"].message
    assert found["good"].succeeded


def test_a_broken_device_is_the_replicas_end(model: ChatModel) -> None:
    with pytest.raises(ReplicaError, match="illegal memory access"):
        completions(model, ask("device", "the device"))


def test_a_chat_for_one_image_says_so(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "old", tmp_path / "ran", parameters="verbose=False")
    found = completions(
        load(folder),
        ask("one", "?", [noise(1)]),
        ask("two", "?", [noise(1), noise(2)]),
        ask("sys", "?", system="x"),
    )
    assert found["one"].succeeded
    assert "num_patches_list" not in json.loads(found["one"].text or "")
    assert "takes one image" in (found["two"].failure.message if found["two"].failure else "")
    assert found["sys"].succeeded


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    plain = write_chat_model(tmp_path / "plain", tmp_path / "ran", auto_map={})
    with pytest.raises(ConfigurationError, match="no Python code of its own"):
        load(plain)
    other = write_chat_model(tmp_path / "other", tmp_path / "ran")
    code = other / "modeling_echo.py"
    code.write_text(code.read_text().replace("pixel_values, question, generation_config", "image, msgs"))
    with pytest.raises(ConfigurationError, match="takes no pixel_values, question, generation_config"):
        load(other)
    code.write_text(code.read_text().replace("def chat(", "def talk("))
    with pytest.raises(ConfigurationError, match="chat method doesn't exist"):
        load(other)
    code.write_text("import einops_of_the_future")
    with pytest.raises(ConfigurationError, match="einops_of_the_future"):
        load(other)


def test_weights_that_lack_parameters_are_refused(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "empty", tmp_path / "ran")
    save_file({}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigurationError, match="lack 1 of the model's parameters"):
        load(folder)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"max_num": 0}, "number of tiles"),
        ({"min_num": 7, "max_num": 6}, "more than max_num"),
        ({"min_num": 9}, "at least 9 tiles and at most 6"),
        ({"use_thumbnail": "yes"}, "true or false"),
        ({"chat_template": "x.jinja"}, "own code makes the prompt"),
        ({"processor_do_resize": False}, "own code makes the prompt"),
        ({"batching": "static"}, "one at a time"),
        ({"dtype": "float33"}, "can't be loaded"),
        ({"no_such_argument": 1}, "no_such_argument"),
    ],
)
def test_wrong_arguments_are_explained(folder: Path, args: dict[str, JSON], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        load(folder, args)


def test_tensor_parallel_replicas_are_refused(folder: Path) -> None:
    settings = ModelSettings(str(folder), trust_remote_code=True, gpus_per_replica=2, parallelism="tensor")
    with pytest.raises(ConfigurationError, match="--parallelism device-map"):
        ChatModel.check(settings)


def test_the_code_is_imported_by_one_process_at_a_time(
    folder: Path, code_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers copies it file by file; another replica must not import half a file."""
    monkeypatch.setattr("muster.models.chat.loading.LOCK_TIMEOUT", 0.1)
    with (
        FileLock(code_cache / f".muster-{folder.name}.lock"),
        pytest.raises(RunError, match="another process"),
    ):
        load(folder)


@pytest.mark.slow  # two processes import torch
def test_replicas_that_start_together(tmp_path: Path) -> None:
    folder = write_chat_model(tmp_path / "echo", tmp_path / "ran")
    task = write_benchmark(tmp_path, 12)
    run = start(
        tmp_path / "run", "--model", str(folder), "--backend", "chat", "--trust-remote-code", "--tasks", str(task),
        "--model-args", "device=cpu", "--replicas", "2",
        env=os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert run.wait() == 0, run.stderr
    assert run.results().tasks["echo"].samples.succeeded == 12
    assert (tmp_path / "modules").is_dir()
