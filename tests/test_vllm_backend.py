"""The vllm backend against a stand-in for vLLM: real processes and event loops, no weights.

Guards against prompts that differ from the transformers backend's, an engine that waits for work, one request's error
that ends the others, requests that are left behind when a run is stopped, and an engine's death that goes unnoticed.
Against a real vLLM: tests/test_vllm_real.py.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import pytest

from muster.core import (
    ConfigurationError,
    Generation,
    LostMemberError,
    Media,
    ReplicaError,
    Request,
    VideoSettings,
)
from muster.core.likelihood import Likelihood, from_text
from muster.demo import demo_model_path
from muster.models.protocol import ModelSettings
from muster.models.registry import BUILTIN, load_backend, model_kind
from processes import command_of, gone, start, until
from tiny_requests import ListStream, answers, ask, likelihood_requests, noise
from tiny_video_models import VIDEO_FAMILIES
from video_files import number_of, write_frame_folder

FAKE = Path(__file__).parent / "fake_vllm"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")


@pytest.fixture(scope="module")
def behaviour() -> Iterator[ModuleType]:
    """The stand-in, for this module's tests alone."""
    pytest.importorskip("transformers").AutoProcessor  # noqa: B018  before the stand-in is there to be found
    sys.path.insert(0, str(FAKE))
    try:
        yield importlib.import_module("vllm.behaviour")
    finally:
        sys.path.remove(str(FAKE))
        for name in list(sys.modules):
            if name.split(".")[0] == "vllm" or name in (
                "muster.models.vllm.engine",
                "muster.models.vllm.backend",
            ):
                del sys.modules[name]


@pytest.fixture
def vllm(behaviour: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes models; ends them."""
    from muster.models.vllm.backend import VllmModel

    behaviour.engines.clear()
    monkeypatch.setattr(behaviour, "SECONDS", 0.01)
    models = []

    def make(args: dict[str, Any] | None = None, **settings: Any) -> VllmModel:
        models.append(VllmModel(ModelSettings(str(demo_model_path()), args or {}, **settings)))
        return models[-1]

    yield make
    for each in models:
        each.close()


def test_the_registry_knows_what_it_is_without_importing_it(vllm: Any) -> None:
    backend = load_backend("vllm")
    assert model_kind(backend) == BUILTIN["vllm"].kind
    assert getattr(backend, "starts_processes", False)
    assert BUILTIN["vllm"].processes


def test_prompts_are_those_of_the_transformers_backend(vllm: Any, behaviour: ModuleType) -> None:
    from muster.models.transformers.options import Options
    from muster.models.transformers.processor import load_processor
    from muster.models.transformers.prompts import PromptRenderer

    images = [noise(1), noise(2)]
    request = ask("a", "Which?", images, system="Be brief.")
    model = vllm()
    assert answers(model, [request])["a"].succeeded
    (prompt,) = behaviour.engines[0].prompts
    renderer = PromptRenderer(load_processor(demo_model_path(), Options(), trust_remote_code=False))
    assert prompt["prompt"] == renderer.render(request.messages)
    assert [image.mode for image in prompt["multi_modal_data"]["image"]] == ["RGB", "RGB"]
    assert prompt["multi_modal_uuids"]["image"] == [image.identity for image in images]
    assert behaviour.engines[0].special_tokens == [renderer.adds_special_tokens(prompt["prompt"])]


def film(folder: Path, frames: int) -> Media:
    """A folder of frames."""
    return Media(
        "video",
        path=str(write_frame_folder(folder, frames)),
        frame_rate=2.0,
        shown=VideoSettings(frames=frames),
    )


def test_a_video_is_its_frames_as_images_and_the_answer_says_so(
    vllm: Any, behaviour: ModuleType, tmp_path: Path
) -> None:
    model = vllm({"max_images": 4}, most_images=1, most_videos=1)
    assert model.videos == "frames"
    short, long = film(tmp_path / "a", 3), film(tmp_path / "b", 4)
    got = answers(model, [ask("a", "What happens?", [short, noise(1)]), ask("b", "And?", [long, noise(1)])])
    assert got["a"].note == f"video {short.path}: 3 frames as images"
    assert got["b"].failure is not None
    assert "5 images, and max_images=4" in got["b"].failure.message
    (prompt,) = behaviour.engines[0].prompts
    assert [number_of(np.asarray(image)) for image in prompt["multi_modal_data"]["image"][:3]] == [0, 1, 2]
    assert prompt["prompt"].count("<image>") == 4
    # Two questions may be about different frames of one file, so its name says too little.
    assert prompt["multi_modal_uuids"]["image"] == [None, None, None, noise(1).identity]


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="no processor has its video part")
def test_an_engine_that_takes_videos_gets_frames_and_their_times(
    behaviour: ModuleType, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from muster.models.vllm.backend import VllmModel

    folder = tmp_path / "model"
    folder.mkdir()
    VIDEO_FAMILIES["qwen2_5_vl"](folder)
    behaviour.engines.clear()
    model = VllmModel(ModelSettings(str(folder), most_images=1, most_videos=1))
    try:
        got = answers(model, [ask("a", "What happens?", [film(tmp_path / "film", 4), noise(1)])])
    finally:
        model.close()
    assert (model.videos, got["a"].note, got["a"].failure) == ("video", None, None)
    (prompt,) = behaviour.engines[0].prompts
    ((pixels, facts),) = prompt["multi_modal_data"]["video"]
    assert [number_of(frame) for frame in pixels] == [0, 1, 2, 3]
    assert (facts["frames_indices"], facts["fps"], facts["do_sample_frames"]) == ([0, 1, 2, 3], 2.0, False)
    assert len(prompt["multi_modal_data"]["image"]) == 1


def test_the_engine_is_full_and_holds_little_more(vllm: Any, behaviour: ModuleType) -> None:
    model = vllm({"max_num_seqs": 8})
    held = []

    class Counting(ListStream):
        def __next__(self) -> Request:
            held.append(100 - len(self.pending) - behaviour.engines[0].answered)
            return super().__next__()

    given = list(model.generate(Counting(ask(str(index), "?") for index in range(100))))
    assert len([each for each in given if each.succeeded]) == 100
    assert behaviour.engines[0].most == 8
    assert model.slots == 10
    assert max(held) < 10


def test_no_more_in_flight_than_the_user_allows(vllm: Any, behaviour: ModuleType) -> None:
    model = vllm(max_in_flight=3)
    assert all(each.succeeded for each in answers(model, [ask(str(i), "?") for i in range(20)]).values())
    assert (model.slots, behaviour.engines[0].most) == (3, 3)


def test_answers_carry_usage_and_settings(vllm: Any, behaviour: ModuleType) -> None:
    request = ask("a", "?", [noise(1)], Generation(max_new_tokens=5, temperature=0.5, top_p=0.9, stop=("x",)))
    completion = answers(vllm(), [request])["a"]
    assert completion.text is not None
    assert completion.text.startswith("answer to")
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 2)
    assert completion.finish_reason == "stop"
    (settings,) = behaviour.engines[0].settings
    assert settings["repetition_penalty"] == 1.1
    assert (settings["max_tokens"], settings["temperature"], settings["stop"]) == (5, 0.5, ["x"])
    assert getattr(settings["output_kind"], "name", "") == "FINAL_ONLY"


def test_how_likely_continuations_are_is_told_of_the_prompts_last_tokens(
    vllm: Any, behaviour: ModuleType
) -> None:
    """Each after the prompt alone: tokens of another, or one joined with the prompt's last, would be another's."""
    from muster.models.transformers.options import Options
    from muster.models.transformers.processor import load_processor

    tokenizer = load_processor(demo_model_path(), Options(), trust_remote_code=False).tokenizer
    requests = likelihood_requests()
    empty = replace(ask("empty", "?", [noise(1)]), continuations=(" 7", ""))
    got = answers(vllm(), [*requests, empty])
    assert got.pop("empty").failure is not None
    asked = [each["prompt_token_ids"] for each in behaviour.engines[0].prompts]
    for request in requests:
        completion = got[request.key.sample_id]
        expected = [tokenizer.encode(text, add_special_tokens=False) for text in request.continuations]
        assert all([1, 2, 3, *tokens] in asked for tokens in expected)
        assert from_text(completion.text or "") == [
            Likelihood(sum(-each / 8 for each in tokens), len(tokens), all(each % 2 == 0 for each in tokens))
            for tokens in expected
        ]
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (
            3,
            sum(map(len, expected)),
        )
    for settings in behaviour.engines[0].settings:
        assert (settings["prompt_logprobs"], settings["max_tokens"]) == (0, 1)
        assert "repetition_penalty" not in settings


def test_one_requests_error_is_its_own(vllm: Any, behaviour: ModuleType) -> None:
    broken = Media("image", data=b"no image")
    asked = [
        ask("too long", behaviour.REFUSED),
        ask("breaks", behaviour.BROKEN),
        ask("given up", behaviour.GIVEN_UP),
        ask("no image", "?", [broken]),
        ask("images", "?", [noise(1), noise(2), noise(3)]),
        ask("video", "?", [replace(noise(1), kind="video")]),
        ask("good", "?", [noise(1)]),
    ]
    got = answers(vllm({"max_images": 2}), asked)
    said = {name: (each.failure.kind, each.failure.message) for name, each in got.items() if each.failure}
    assert said.keys() == {"too long", "breaks", "given up", "no image", "images", "video"}
    assert {name for name, (kind, _) in said.items() if kind != "sample"} == {"given up"}
    assert "The prompt is too long" in said["too long"][1]
    assert "division by zero" in said["breaks"][1]
    assert "can't be decoded" in said["no image"][1]
    assert "max_images=2" in said["images"][1]
    assert "can't be read as a video" in said["video"][1]
    assert len(behaviour.engines[0].prompts) == 3  # what can be told before is not asked


def test_when_the_engine_dies_the_replica_breaks_and_the_next_call_starts_another(
    vllm: Any, behaviour: ModuleType
) -> None:
    model = vllm({"max_num_seqs": 2})
    asked = [
        *(ask(str(i), "?") for i in range(5)),
        ask("kills", behaviour.KILLS),
        *(ask(f"b{i}", "?") for i in range(5)),
    ]
    given = []
    with pytest.raises(ReplicaError, match="engine has died"):
        given.extend(model.generate(ListStream(asked)))
    assert all(each.succeeded for each in given)
    assert answers(model, [ask("again", "?")])["again"].succeeded
    assert len(behaviour.engines) == 2


def test_a_run_that_stops_leaves_nothing_in_the_engine(vllm: Any, behaviour: ModuleType) -> None:
    model = vllm({"max_num_seqs": 4})
    going = model.generate(ListStream([ask("a", "?"), *(ask(f"e{i}", behaviour.ENDLESS) for i in range(3))]))
    assert next(going).succeeded
    until(lambda: behaviour.engines[0].running == 3, "the other three in the engine")
    going.close()
    assert len(behaviour.engines[0].aborted) == 3
    # Work that came back is answered by the same engine, in the same event loop.
    assert answers(model, [ask("b", "?")])["b"].succeeded
    assert (len(behaviour.engines), len(behaviour.engines[0].loops)) == (1, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"max_num_seq": 4}, r"max_num_seq: neither .*did you mean 'max_num_seqs'"),
        ({"dtype": "nonsense"}, r"vLLM can't load .*demo/model so: Unknown dtype"),
    ],
)
def test_what_vllm_refuses_is_a_configuration_error(vllm: Any, args: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        vllm(args)


@pytest.mark.parametrize(("status", "error"), [(1, ConfigurationError), (-9, LostMemberError)])
def test_an_engine_that_is_killed_while_it_loads_may_be_started_again(
    vllm: Any, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match="didn't start"):
        vllm({"ends_with": status})


@pytest.mark.slow
def test_a_killed_engine_and_a_killed_worker_are_replaced_and_leave_nothing_behind(tmp_path: Path) -> None:
    model_args = '{"max_num_seqs": 2}'
    arguments = ["--backend", "vllm", "--model", "demo", "--tasks", "digits_read", "--limit", "200"]
    run = start(
        tmp_path / "run",
        *arguments,
        *("--model-args", model_args, "--progress", "plain", "--max-failures", "0"),
        env={"PYTHONPATH": f"{FAKE}:{Path(__file__).parents[1] / 'src'}", "FAKE_VLLM_SECONDS": "0.05"}
        | {"FAKE_VLLM_RECORD": str(tmp_path / "arguments.json")},
        heavy=True,
    )

    def engines() -> list[psutil.Process]:
        below = psutil.Process(run.process.pid).children(recursive=True)
        return [each for each in below if any("multiprocessing.spawn" in word for word in command_of(each))]

    run.until_answered(20)
    (first,) = engines()
    first.kill()
    answered = run.answered()
    run.until_answered(answered + 40)
    (second,) = engines()
    (worker,) = run.workers().values()
    worker.kill()
    assert run.wait() == 0, run.stderr + run.logs()
    assert gone(second)
    assert run.results().complete
    # Room for as many images as the run's prompts have.
    assert json.loads((tmp_path / "arguments.json").read_text())["limit_mm_per_prompt"] == {
        "image": 1,
        "video": 0,
    }
    assert len({record.completion.key for record in run.journal()}) == 200
