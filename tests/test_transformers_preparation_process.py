"""Preparing in a process of its own: the same batches, and nothing lost, doubled or left behind if it dies."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from fork_server import fork_child
from muster.core import JSON, ConfigurationError, Generation, Media, Request, child_process
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel, cores
from muster.models.transformers.options import Options, parse_options
from muster.models.transformers.preparation import Batch, Prepared
from muster.models.transformers.preparation_messages import receive_prepared, send_prepared
from muster.models.transformers.preparation_process import PreparationProcess
from muster.models.transformers.tokens_as_text import can_encode
from processes import until
from tiny_models import model_folder
from tiny_requests import ListStream, answers, ask, noise, texts

AFRESH = child_process.launch
PATIENCE = 120.0
"""Seconds after which a test that waits for a process has failed."""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def process_of(model: TransformersModel) -> PreparationProcess:
    assert model._process is not None
    return model._process


def load(folder: str | Path, preparation: str, *, trust_remote_code: bool = False) -> TransformersModel:
    args = {
        "preparation": preparation,
        "device": "cpu",
        "batching": "static",
    }  # claims of the whole batch size
    return TransformersModel(
        ModelSettings(str(folder), args, batch_size=4, trust_remote_code=trust_remote_code)
    )


def ready(model: TransformersModel) -> TransformersModel:
    until(lambda: process_of(model).ready, "the preparation process loads its processor")
    return model


@pytest.fixture(scope="module", autouse=True)
def quick_start() -> Iterator[None]:
    """The process has its imports already, but where a test starts all that is around it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "launch", fork_child)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """LLaVA-NeXT: several tensors, whose shapes depend on the images."""
    return str(model_folder("llava_next", tmp_path_factory))


@pytest.fixture(scope="module")
def beside(folder: str) -> Iterator[TransformersModel]:
    """A model whose batches are prepared in a process; for tests that leave it alive."""
    model = ready(load(folder, "process"))
    yield model
    model.close()


@pytest.fixture
def own(folder: str) -> Iterator[TransformersModel]:
    """The same, for tests that harm the process."""
    model = ready(load(folder, "process"))
    yield model
    model.close()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each batch had that this process prepared itself."""
    from muster.models.transformers.preparation import Preparer

    prepared: list[int] = []
    prepare = Preparer.prepare

    def noted(self: Preparer, requests: Sequence[Request]) -> Prepared:
        prepared.append(len(claimed := list(requests)))
        return prepare(self, claimed)

    monkeypatch.setattr(Preparer, "prepare", noted)
    return prepared


def questions(count: int) -> list[Request]:
    return [ask(f"{index}", "why " * (index + 1), [noise(index)]) for index in range(count)]


def mixed(folder: Path) -> list[Request]:
    """All that can become of requests: batches of several kinds and lengths, and failures of several kinds."""
    torn = folder / "torn.png"
    torn.write_bytes((noise(0).data or b"")[:200])
    return [
        ask("wide", "what?", [noise(1, 40, 16)]),
        ask("torn", "what?", [Media("image", path=str(torn))]),
        ask("text", "only text"),
        ask("two", "which?", [noise(2), noise(3, 16, 40)], system="Be brief"),
        ask("marker", "what is <image>?", [noise(1)]),
        ask("missing", "what?", [Media("image", path="/no/such/image.png")]),
        ask("warm", "how?", [noise(4)], Generation(max_new_tokens=3, temperature=0.7, stop=("\n", "é"))),
        ask("long", "x" * 3000, [noise(5)]),
        ask("longer than others", "why " * 100, [noise(6)]),
        ask("film", "what?", [Media("video", path="/films/a.mp4")]),
    ]


def assert_same(one: Prepared, other: Prepared) -> None:
    assert one.failures == other.failures
    assert len(one.batches) == len(other.batches)
    for batch, twin in zip(one.batches, other.batches, strict=True):
        assert [row.request for row in batch.rows] == [row.request for row in twin.rows]
        assert batch.prompt_tokens == twin.prompt_tokens
        assert list(batch.inputs) == list(twin.inputs)
        for name, tensor in batch.inputs.items():
            assert tensor.dtype == twin.inputs[name].dtype
            assert tensor.shape == twin.inputs[name].shape
            assert torch.equal(tensor, twin.inputs[name]), name


def test_the_process_prepares_what_the_thread_would(beside: TransformersModel, tmp_path: Path) -> None:
    """Tensors to the last bit, the order of batches and rows, and the failures with their tracebacks."""
    requests = mixed(tmp_path)
    process, preparer = process_of(beside), beside._preparer
    prepared = process.prepare(requests, preparer._context_limit, pin_memory=False)
    assert prepared is not None
    assert len(prepared.batches) > 2
    assert {failure.key.sample_id for failure in prepared.failures} == {
        *("torn", "missing", "film", "long"), *(() if can_encode() else ("marker",)),
    }, "the marker is asked as text"  # fmt: skip
    assert_same(preparer.prepare(requests), prepared)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "idefics3", "paligemma"])
def test_the_process_loads_the_same_processor(family: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = ready(load(model_folder(family, tmp_path_factory), "process"))
    requests = questions(3)
    prepared = process_of(model).prepare(requests, None, pin_memory=False)
    assert prepared is not None
    assert_same(model._preparer.prepare(requests), prepared)
    model.close()


def test_arguments_for_the_processor_reach_the_process(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Were they lost on the way, images would have another size depending on the number of cores."""
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}<|vision_start|><|image_pad|><|vision_end|>own{% endfor %}")
    folder = model_folder("qwen2_5_vl", tmp_path_factory)
    args: dict[str, JSON] = {"preparation": "process", "max_pixels": 1024, "chat_template": str(template)}
    model = ready(TransformersModel(ModelSettings(str(folder), args)))
    requests = [ask("large", "what?", [noise(1, 64, 64)])]
    prepared = process_of(model).prepare(requests, None, pin_memory=False)
    assert prepared is not None
    assert prepared.batches[0].inputs["image_grid_thw"].prod() * 64 <= 1024
    assert prepared.batches[0].prompt_tokens[0] < 12, "the model's own template is longer"
    assert_same(model._preparer.prepare(requests), prepared)
    model.close()


def test_every_kind_of_tensor_survives_the_journey() -> None:
    """Raw bytes without their type, shape or alignment would be other numbers, or none."""
    request = ask("a", "b")
    inputs = {
        "flags": torch.tensor([[True, False, True]]),
        "half": torch.tensor([1.5, float("nan"), -0.0]).bfloat16(),
        "scalar": torch.tensor(7, dtype=torch.int64),
        "empty": torch.empty(0, 3),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "bytes": torch.arange(5, dtype=torch.uint8),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
    }
    from muster.models.transformers.preparation import Row

    sent = Prepared((Batch((Row(request),), inputs, (4,)),), ())
    left, right = socket.socketpair()
    with left, right:
        send_prepared(left, sent, [request])
        received = receive_prepared(right, [request], pin_memory=False)
    assert received is not None
    for name, tensor in inputs.items():
        twin = received.batches[0].inputs[name]
        assert (twin.dtype, twin.shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(
            twin.reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8)
        )


def test_answers_come_from_batches_of_the_process(
    beside: TransformersModel, folder: str, here: list[int]
) -> None:
    expected = texts(answers(load(folder, "thread"), questions(10)))
    assert len(here) == 3
    here.clear()
    assert texts(answers(beside, questions(10))) == expected
    assert here == [], "the thread prepared although the process was ready"


def test_before_it_is_ready_the_thread_prepares(
    folder: str, here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "launch", AFRESH)  # forked it would be ready at once
    model = load(folder, "process")
    os.kill(process_of(model).pid, signal.SIGSTOP)  # loads for ever
    assert len(texts(answers(model, questions(6)))) == 6
    assert here == [4, 2]
    pid = process_of(model).pid
    model.close()
    assert not alive(pid), "a stopped process must end too"


def test_a_killed_process_costs_nothing_but_itself(
    own: TransformersModel, folder: str, here: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """kill -9 between two batches: each request is answered once, as if nothing had happened."""
    expected = texts(answers(load(folder, "thread"), questions(12)))
    here.clear()
    completions = own.generate(stream := ListStream(questions(12)))
    got = [next(completions)]
    os.kill(process_of(own).pid, signal.SIGKILL)
    got += completions
    assert sorted(c.key.sample_id for c in got) == sorted(expected)
    assert {c.key.sample_id: c.text for c in got} == expected
    assert stream.pending == []
    assert sum(here) >= 4
    assert caplog.text.count("a thread goes on") == 1


def test_a_process_killed_at_work_loses_nothing(own: TransformersModel, here: list[int]) -> None:
    """It dies with a batch in its hands; the thread must prepare that very batch."""
    process = process_of(own)
    os.kill(process.pid, signal.SIGSTOP)
    completions: list[str] = []
    running = threading.Thread(target=lambda: completions.extend(answers(own, questions(4))))
    running.start()
    until(process._lock.locked, "the batch is sent")
    os.kill(process.pid, signal.SIGKILL)
    running.join(PATIENCE)
    assert sorted(completions) == ["0", "1", "2", "3"]
    assert here == [4]


FATAL = """
import os, signal
from transformers import LlavaProcessor

class FatalProcessor(LlavaProcessor):
    def __call__(self, text=None, **arguments):
        if os.getpid() != int(os.environ["SPARED"]) and any("poison" in prompt for prompt in text):
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(text=text, **arguments)
"""


def test_a_sample_that_kills_the_process_is_left_to_the_thread(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, here: list[int]
) -> None:
    """Also: code that comes with the model is loaded in the process where it was allowed, as in the replica."""
    folder = tmp_path_factory.mktemp("fatal") / "llava"
    shutil.copytree(model_folder("llava", tmp_path_factory), folder)
    (folder / "fatal.py").write_text(FATAL)
    file = folder / "processor_config.json"
    config = json.loads(file.read_text())
    config.update(processor_class="FatalProcessor", auto_map={"AutoProcessor": "fatal.FatalProcessor"})
    file.write_text(json.dumps(config))
    monkeypatch.setenv("SPARED", str(os.getpid()))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    model = ready(load(folder, "process", trust_remote_code=True))
    assert type(model._preparer._processor).__name__ == "FatalProcessor"
    requests = [*questions(4), ask("bad", "poison", [noise(1)]), *questions(9)[4:]]
    assert len(texts(answers(model, requests))) == 10
    assert here[0] == 4, "the batch with the sample"
    assert sum(here) == 6, "all that followed"
    assert not alive(process_of(model).pid)


def test_what_cannot_travel_is_prepared_by_the_thread(beside: TransformersModel, here: list[int]) -> None:
    """Lone surrogates fit no encoding: the process must stay usable, and the old rules hold for the request."""
    completions = answers(beside, [ask("odd", "why \ud800?", [noise(1)])])
    assert set(completions) == {"odd"}
    missing = Media("image", path="/no/such/\udcff.png")  # its failure's message can't come back
    failure = answers(beside, [ask("path", "why?", [missing])])["path"].failure
    assert failure is not None
    assert "/no/such/" in failure.message
    assert here == [1, 1]
    assert len(texts(answers(beside, questions(4)))) == 4
    assert here == [1, 1]


def test_an_out_of_memory_batch_is_halved_though_its_images_stayed_away(
    own: TransformersModel, folder: str
) -> None:
    expected = texts(answers(load(folder, "thread"), questions(8)))
    answer = own._generator.answer

    def small(batch: Batch) -> object:
        if len(batch) > 1:
            raise RuntimeError("CUDA out of memory")
        return answer(batch)

    own._generator.answer = small  # type: ignore[assignment,method-assign]
    assert texts(answers(own, questions(8))) == expected


def test_closing_or_forgetting_the_model_ends_the_process(folder: str) -> None:
    model = load(folder, "process")
    pid = process_of(model).pid
    assert alive(pid)
    model.close()
    assert not alive(pid)
    model.close()
    assert len(texts(answers(model, questions(2)))) == 2, "the thread is still there"
    model = load(folder, "process")
    pid = process_of(model).pid
    del model
    gc.collect()
    assert not alive(pid)


def test_a_model_that_cannot_be_loaded_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "launch", AFRESH)

    def children() -> set[str]:
        return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())

    before = children()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError):
        load(tmp_path, "process")
    assert children() <= before


WORKER = """
import sys, time
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
model = TransformersModel(ModelSettings(sys.argv[1], {"preparation": "process", "device": "cpu"}))
while not model._process.ready:
    time.sleep(0.02)
print(model._process.pid, flush=True)
time.sleep(600)
"""


def test_it_ends_with_a_killed_worker_and_not_by_ctrl_c(folder: str) -> None:
    """An orphan would keep its memory for ever; and Ctrl-C, which reaches the whole group, is the coordinator's.

    All of it is started afresh.
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.3)
        assert alive(pid)
    finally:
        worker.kill()
        worker.communicate()
    until(lambda: not alive(pid), "the process ends with its worker")


def test_a_process_that_cannot_be_started_is_done_without(
    folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child_process, "launch", AFRESH)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    model = load(folder, "process")
    assert model._process is None
    assert "can't be started" in caplog.text
    assert len(texts(answers(model, questions(5)))) == 5


def test_a_process_that_fails_to_load_is_done_without(
    folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(folder, "thread")
    model._process = PreparationProcess.start(tmp_path, Options(), trust_remote_code=False)
    process_of(model)._child.process.wait(PATIENCE)  # all of its threads: each keeps the socket open
    assert len(texts(answers(model, questions(5)))) == 5
    assert caplog.text.count("a thread goes on") == 1


def test_auto_asks_for_two_cores_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    assert cores.wants_process("auto", {})
    assert cores.wants_process("auto", {"LOCAL_WORLD_SIZE": "4"})
    assert not cores.wants_process("auto", {"LOCAL_WORLD_SIZE": "5"})
    assert not cores.wants_process("auto", {"MUSTER_LOCAL_WORKERS": "8", "LOCAL_WORLD_SIZE": "1"})
    assert cores.wants_process("auto", {"MUSTER_LOCAL_WORKERS": "many"})
    assert cores.wants_process("process", {"LOCAL_WORLD_SIZE": "64"})
    assert not cores.wants_process("thread", {})


def test_the_cores_that_count_are_those_this_process_may_use() -> None:
    """A container's or a scheduler's share, not the machine's."""
    script = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    script += "from muster.models.transformers.cores import wants_process; print(wants_process('auto', {}))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_an_unknown_preparation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="auto, thread, process"):
        parse_options({"preparation": "gpu"})


def test_a_run_has_nothing_to_say_of_the_process_at_its_end(tmp_path: Path) -> None:
    """It belongs to the model, which is garbage by then and may not have been collected yet."""
    options = ["--engine", "inline", "--model-args", "preparation=process", "--limit", "20"]
    command = ["-m", "muster", "run", "--model", "demo", "--tasks", "digits_read", *options]
    done = subprocess.run(
        [sys.executable, *command, "--output", str(tmp_path / "run")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "has left" not in done.stderr
