"""VLMEvalKit's model classes as a backend: its process, what it imports, what it is asked, and what goes wrong.

A small package in the layout of VLMEvalKit stands in its place, in a real process; `python -m benchmarks.parity`
compares with the real one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

import muster
from muster.config import load_config
from muster.core import (
    JSON,
    Clip,
    Completion,
    ConfigurationError,
    Generation,
    ImageSettings,
    Media,
    Message,
    Part,
    ReplicaError,
    Request,
    RequestKey,
)
from muster.models.protocol import ModelSettings
from muster.models.registry import check_settings, load_backend, served_by, starts_processes, uses_gpus
from muster.toolkits.model import VlmevalkitModel
from processes import DEADLINE

FILES = {
    "vlmeval/__init__.py": "from .tools import cli\n__version__ = '9'\n",
    "vlmeval/tools.py": "from vlmeval.config import supported_VLM\ncli = supported_VLM\n",
    "vlmeval/config.py": """
        from functools import partial
        import vlmeval.api as api
        import vlmeval.vlm as vlm
        series = {
            "echo": partial(vlm.Echo, max_new_tokens=99),
            "films": partial(vlm.Films, mood="calm"),
            "broken": partial(vlm.Broken),
            "lazy": partial(vlm.Lazy),
            "engine": partial(vlm.Engine),
            "remote": partial(api.Remote, model="r"),
        }
        supported_VLM = {}
        supported_VLM.update(series)
        """,
    "vlmeval/vlm/__init__.py": """
        import os
        os.environ["VLM_PACKAGE"] = "ran"
        from .broken import Broken
        from .echo import Engine, Echo, Films
        from .family import Lazy
        """,
    "vlmeval/vlm/broken.py": "import a_package_that_nobody_has\nclass Broken: pass\n",
    "vlmeval/vlm/family/__init__.py": "from .lazy import Lazy\nfrom .unused import Unused\n",
    "vlmeval/vlm/family/unused.py": "import another_package_that_nobody_has\nclass Unused: pass\n",
    "vlmeval/vlm/family/lazy.py": """
        class Lazy:
            def generate(self, message, dataset=None):
                import imported_when_it_answers
        """,
    "vlmeval/vlm/echo.py": """
        import json
        import os
        import sys
        import torch

        class Echo:
            def __init__(self, max_new_tokens=1, refuse=False):
                assert os.environ["VLM_PACKAGE"] == "ran"
                if refuse:
                    sys.exit("no weights")
                self.kwargs = {"max_new_tokens": max_new_tokens, "do_sample": True, "top_p": 0.5}

            def set_dump_image(self, function):
                self.dump_image_func = function

            def use_custom_prompt(self, dataset):
                return dataset == "custom"

            def build_prompt(self, line, dataset):
                pictures = self.dump_image_func(line)
                return [{"type": "image", "value": pictures}, {"type": "text", "value": "mine: " + line["question"]}]

            def generate(self, message, dataset=None):
                text = "".join(piece["value"] for piece in message if piece["type"] == "text")
                if text == "die":
                    os._exit(3)
                if text == "raise":
                    raise ValueError("no such thing")
                if text == "memory":
                    raise type("OutOfMemoryError", (RuntimeError,), {})("full")
                if text == "device":
                    raise RuntimeError("CUDA error: an illegal memory access")
                return json.dumps({
                    "message": message, "dataset": dataset, "kwargs": self.kwargs, "seed": torch.seed,
                    "modules": sorted(name for name in sys.modules if name.startswith("vlmeval.")),
                })

            def chat_inner(self, message, dataset=None):
                return self.chat(message, dataset)

            def chat(self, messages, dataset=None):
                return json.dumps([[turn["role"], *[part["value"] for part in turn["content"]]] for turn in messages])

        class Engine:
            def __init__(self):
                import subprocess
                self.process = subprocess.Popen(["sleep", "1000"])

            def generate(self, message, dataset=None):
                return str(self.process.pid)

        class Films(Echo):
            VIDEO_LLM = True
            chat_inner = property()

            def __init__(self, mood):
                super().__init__()
                self.mood = mood
        """,
    "vlmeval/api/__init__.py": "from .remote import Remote\n__all__ = ['Remote']\n",
    "vlmeval/api/remote.py": """
        import json
        import threading

        class Remote:
            is_api = True
            fail_msg = "Failed to obtain answer via API."

            def __init__(self, model, max_tokens=2048, temperature=0.5):
                self.max_tokens, self.temperature = max_tokens, temperature
                self.default_kwargs = {}
                self.met = threading.Barrier(3)

            def generate(self, message, **options):
                text = message[-1]["value"]
                if text.startswith("together"):
                    self.met.wait(60)
                if text == "refused":
                    return self.fail_msg
                return json.dumps({"message": message, "tokens": self.max_tokens, "t": self.temperature, **options})
        """,
    "vlmeval/dataset/__init__.py": """
        supported_video_datasets = {}

        class Rows(list):
            @property
            def iloc(self):
                return self
            def __getitem__(self, name):
                return [row["index"] for row in self] if name == "index" else list.__getitem__(self, name)

        class Custom:
            data = Rows([{"index": 7, "question": "which?"}, {"index": 8, "question": "why?"}])
            def dump_image(self, line):
                return f"/picture/{line['index']}"

        def DATASET_MODALITY(name):
            return "IMAGE"

        def DATASET_TYPE(name):
            return "MT" if name == "talks" else "VQA"

        def build_dataset(name):
            return Custom() if name == "custom" else None
        """,
    # A module of this name that is quick to import.
    "torch.py": "seed = None\ndef manual_seed(value):\n    global seed\n    seed = value\n",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kit")
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(content), encoding="utf-8")
    return root


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "one.jpg"
    Image.new("RGB", (8, 6), "red").save(file)
    return file


def settings(checkout: Path, name: str, in_flight: int | None = None, **args: JSON) -> ModelSettings:
    return ModelSettings(f"vlmevalkit:{name}", {"checkout": str(checkout), **args}, max_in_flight=in_flight)


GREEDY = Generation()


def request(
    *parts: Part, task: str = "digits", sample: str = "1", generation: Generation = GREEDY
) -> Request:
    return Request(RequestKey(task, sample), (Message("user", parts),), generation)


def text(words: str, **more: str) -> Request:
    return request(Part(text=words), **more)  # type: ignore[arg-type]


class Stream(list[Request]):
    """Requests, all at hand."""

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        if not self:
            raise StopIteration
        return self.pop(0)

    def take(self, limit: int) -> list[Request]:
        return [self.pop(0) for _ in range(min(limit, len(self)))]


def ask(model: VlmevalkitModel, *requests: Request) -> list[Completion]:
    return list(model.generate(Stream(requests)))


def said(completion: Completion) -> dict[str, object]:
    assert completion.text is not None, completion.failure
    found = json.loads(completion.text)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def echo(checkout: Path) -> Iterator[VlmevalkitModel]:
    model = VlmevalkitModel(settings(checkout, "echo"))
    yield model
    model.close()


def test_the_wrapper_that_was_asked_for_is_imported_and_no_other(echo: VlmevalkitModel) -> None:
    [answer] = ask(echo, text("hello"))
    modules = said(answer)["modules"]
    assert isinstance(modules, list)
    assert [name for name in modules if name.startswith("vlmeval.vlm.")] == ["vlmeval.vlm.echo"]
    assert "vlmeval.tools" not in modules


def test_messages_become_pieces_with_pictures_as_files(echo: VlmevalkitModel, picture: Path) -> None:
    shown = Media("image", path=str(picture))
    asked = request(Part(text="before"), Part(media=shown), Part(text="after"))
    [answer] = ask(echo, asked)
    message = said(answer)["message"]
    assert isinstance(message, list)
    assert [piece["type"] for piece in message] == ["text", "image", "text"]
    file = Path(message[1]["value"])
    assert (file.suffix, file.read_bytes()) == (".jpg", picture.read_bytes()), "its own bytes"
    small = Media("image", path=str(picture), image=ImageSettings(max_pixels=12))
    [answer] = ask(echo, request(Part(media=small)))
    pieces = said(answer)["message"]
    assert isinstance(pieces, list)
    with Image.open(pieces[0]["value"]) as image:
        assert image.format == "PNG"
        assert image.width * image.height <= 12


def test_a_task_of_its_own_is_asked_with_the_models_prompt_and_settings(echo: VlmevalkitModel) -> None:
    [answer] = ask(echo, text("the dataset's words", task="vlmevalkit:custom", sample="8"))
    heard = said(answer)
    assert heard["message"] == [
        {"type": "image", "value": "/picture/8"},
        {"type": "text", "value": "mine: why?"},
    ]
    assert (heard["dataset"], heard["kwargs"]) == (
        "custom",
        {"max_new_tokens": 99, "do_sample": True, "top_p": 0.5},
    )
    [answer] = ask(echo, text("the dataset's words", task="vlmevalkit:another"))
    assert said(answer)["message"] == [{"type": "text", "value": "the dataset's words"}]


def test_other_tasks_are_asked_with_their_own_settings(echo: VlmevalkitModel) -> None:
    generation = Generation(max_new_tokens=5, top_p=0.9)
    [answer] = ask(echo, request(Part(text="x"), generation=generation))
    assert said(answer)["kwargs"] == {"max_new_tokens": 5, "do_sample": False, "top_p": 0.5}
    assert said(answer)["dataset"] == "muster_openended"
    sampled = Generation(max_new_tokens=5, temperature=0.7, top_p=0.9, stop=('"kwargs"',))
    [answer] = ask(echo, request(Part(text="x"), generation=sampled))
    assert answer.note == "its wrapper has no place for temperature"
    assert answer.text is not None
    assert "kwargs" not in answer.text, "the answer ends at the first stop"
    [first] = ask(echo, text("x"))
    [again] = ask(echo, text("x"))
    [other] = ask(echo, text("x", sample="2"))
    assert said(first)["seed"] == said(again)["seed"] != said(other)["seed"]


def test_settings_that_the_user_says_reach_tasks_of_its_own(checkout: Path) -> None:
    config = load_config(
        {
            "model": "vlmevalkit:echo",
            "tasks": "vlmevalkit:custom",
            "vlmevalkit_path": str(checkout),
            "max_new_tokens": 3,
            "model_args": "refuse=false",
        },
        env={},
    )
    assert config.backend == "vlmevalkit"
    assert config.model_args == {"checkout": str(checkout), "said": ["max_new_tokens"], "refuse": False}
    model = VlmevalkitModel(ModelSettings(config.model, config.model_args))
    asked = request(
        Part(text="x"), task="vlmevalkit:custom", sample="7", generation=Generation(max_new_tokens=3)
    )
    [answer] = ask(model, asked)
    assert said(answer)["kwargs"] == {"max_new_tokens": 3, "do_sample": True, "top_p": 0.5}


def test_dialogues_go_to_its_chat(echo: VlmevalkitModel, checkout: Path) -> None:
    turns = (
        Message("user", (Part(text="one?"),)),
        Message("assistant", (Part(text="1"),)),
        Message("user", (Part(text="two?"),)),
    )
    [answer] = ask(echo, Request(RequestKey("t", "1"), turns))
    assert answer.text == '[["user", "one?"], ["assistant", "1"], ["user", "two?"]]'
    [answer] = ask(echo, text("alone?", task="vlmevalkit:talks"))
    assert answer.text == '[["user", "alone?"]]', "the first turn too, where the dataset has several"
    films = VlmevalkitModel(settings(checkout, "films"))
    [answer] = ask(films, Request(RequestKey("t", "1"), turns))
    assert answer.failure is not None
    assert "single questions only" in answer.failure.message


def test_videos_are_files_for_those_that_take_them(checkout: Path, tmp_path: Path) -> None:
    from video_files import write_video

    film = tmp_path / "film.mp4"
    write_video(film, 12)
    whole, part = Media("video", path=str(film)), Media("video", path=str(film), clip=Clip(0.0, 0.2))
    films = VlmevalkitModel(settings(checkout, "films"))
    assert films.videos == "video"
    first, second = ask(films, request(Part(media=whole)), request(Part(media=part), sample="2"))
    assert said(first)["message"] == [{"type": "video", "value": str(film)}]
    pieces = said(second)["message"]
    assert isinstance(pieces, list)
    assert {piece["type"] for piece in pieces} == {"image"}, "a clip is no file"


@pytest.mark.parametrize(
    ("words", "kind", "why"),
    [("raise", "sample", "no such thing"), ("memory", "transient", "full")],
)
def test_what_an_answer_fails_on_is_that_samples_failure(
    echo: VlmevalkitModel, words: str, kind: str, why: str
) -> None:
    answer, next_one = ask(echo, text(words), text("x", sample="2"))
    assert answer.failure is not None
    assert (answer.failure.kind, why in answer.failure.message) == (kind, True)
    assert next_one.text is not None


@pytest.mark.parametrize("words", ["die", "device"])
def test_a_broken_process_or_device_breaks_the_replica(echo: VlmevalkitModel, words: str) -> None:
    with pytest.raises(ReplicaError):
        ask(echo, text(words))


def test_a_killed_process_breaks_the_replica(echo: VlmevalkitModel) -> None:
    ask(echo, text("x"))
    os.kill(echo._process.pid, signal.SIGKILL)
    with pytest.raises(ReplicaError, match="is gone"):
        ask(echo, text("x"))


def test_a_worker_that_is_killed_leaves_nothing_of_its_wrapper(checkout: Path) -> None:
    code = f"""
from test_vlmevalkit_models import *
model = VlmevalkitModel(settings(Path({str(checkout)!r}), "engine"))
[answer] = ask(model, text("x"))
print(model._process.pid, answer.text, model._process.scratch, flush=True)
signal.pause()
"""
    worker = subprocess.Popen(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    wrapper, engine, scratch = worker.stdout.readline().split()
    started = [psutil.Process(int(pid)) for pid in (wrapper, engine)]
    worker.kill()
    worker.wait()
    worker.stdout.close()
    _gone, alive = psutil.wait_procs(started, timeout=DEADLINE)
    assert alive == []
    deadline = time.monotonic() + DEADLINE
    while Path(scratch).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(scratch).exists()


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("ecko", {}, "has no model 'ecko'. Near: echo"),
        ("broken", {}, "the Python package 'a_package_that_nobody_has' isn't there"),
        ("echo", {"refuse": True}, "can't be loaded: SystemExit: no weights"),
        ("echo", {"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_what_cannot_be_loaded_says_why(checkout: Path, name: str, args: dict[str, JSON], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        VlmevalkitModel(settings(checkout, name, None, **args))


def test_a_package_that_is_missed_while_answering_ends_the_run(checkout: Path) -> None:
    lazy = VlmevalkitModel(settings(checkout, "lazy"))
    with pytest.raises(ConfigurationError, match="'imported_when_it_answers' isn't there"):
        ask(lazy, text("x"))


def test_an_api_is_asked_several_things_at_once_and_its_failures_are_none_of_its_answers(
    checkout: Path,
) -> None:
    remote = VlmevalkitModel(settings(checkout, "remote", in_flight=3))
    assert remote.slots == 3
    asked = [text(f"together {number}", sample=str(number)) for number in range(3)]
    answers = {answer.key.sample_id: said(answer) for answer in ask(remote, *asked)}
    assert {number: each["message"][0]["value"] for number, each in answers.items()} == {  # type: ignore[index]
        str(number): f"together {number}" for number in range(3)
    }
    assert (answers["0"]["tokens"], answers["0"]["t"], "dataset" in answers["0"]) == (128, 0.0, False)
    [failed] = ask(remote, text("refused"))
    assert failed.failure is not None
    assert failed.failure.kind == "transient"
    system = Request(RequestKey("t", "1"), (Message("system", (Part(text="be brief"),)), *text("x").messages))
    [answer] = ask(remote, system)
    assert said(answer)["message"] == [
        {"type": "text", "value": "be brief", "role": "system"},
        {"type": "text", "value": "x"},
    ]


def test_its_place_and_its_code_are_known_before_anything_is_started(checkout: Path, tmp_path: Path) -> None:
    backend = load_backend("vlmevalkit")
    check_settings(backend, settings(checkout, "echo"))
    with pytest.raises(ConfigurationError, match="no checkout of VLMEvalKit"):
        check_settings(backend, settings(tmp_path, "echo"))
    with pytest.raises(ConfigurationError, match="has no VLMEvalKit"):
        check_settings(backend, ModelSettings("vlmevalkit:echo", {"python": sys.executable}))
    with pytest.raises(ConfigurationError, match="nowhere/python"):
        check_settings(backend, ModelSettings("vlmevalkit:echo", {"python": "/nowhere/python"}))
    before = served_by(backend, {"checkout": str(checkout)})
    file = checkout / "vlmeval/vlm/family/unused.py"
    content = file.read_text()
    file.write_text(f"{content}# changed\n")
    assert served_by(backend, {"checkout": str(checkout)}) != before
    file.write_text(content)
    assert served_by(backend, {"checkout": str(checkout)}) == before
    assert (uses_gpus("vlmevalkit", {}), starts_processes("vlmevalkit")) == (True, True)


def test_a_whole_run(checkout: Path, tmp_path: Path) -> None:
    results = muster.evaluate(
        model="vlmevalkit:echo",
        tasks=["digits_read"],
        vlmevalkit_path=str(checkout),
        limit=3,
        output=tmp_path / "run",
    )
    [task] = results.tasks.values()
    assert task.samples.succeeded == 3
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert (manifest["model"], manifest["fingerprint"]["backend"]) == ("vlmevalkit:echo", "vlmevalkit")
    assert manifest["fingerprint"]["vlmevalkit"]
