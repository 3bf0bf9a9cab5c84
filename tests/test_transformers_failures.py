"""What one bad sample, a full device and a broken device do to the rest."""

from __future__ import annotations

import pytest

from muster.core import Media, Message, Part, ReplicaError, Request, RequestKey
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.batch_size import BatchSize
from muster.models.transformers.device_errors import classify
from muster.models.transformers.generation import Answer
from muster.models.transformers.preparation import Batch
from tiny_models import model_folder
from tiny_requests import ListStream, answers, ask, noise, texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(model_folder("llava_next", tmp_path_factory))


@pytest.fixture
def model(folder: str) -> TransformersModel:
    return TransformersModel(ModelSettings(folder, {"batching": "static"}, batch_size=8))


def questions(count: int = 8) -> list[Request]:
    return [ask(f"{index}", "why " * (index + 1), [noise(index)]) for index in range(count)]


class Device:
    """Stands in for the batch runner: answers with the batch's size, or raises as told."""

    def __init__(self, model: TransformersModel) -> None:
        self.sizes: list[int] = []
        self._answer = model._generator.answer
        model._generator.answer = self.answer  # type: ignore[method-assign]

    def error(self, batch: Batch) -> Exception | None:
        """What this batch does to the device."""
        return None

    def answer(self, batch: Batch) -> list[Answer]:
        self.sizes.append(len(batch))
        if (error := self.error(batch)) is not None:
            raise error
        return self._answer(batch)


class SmallDevice(Device):
    """Has memory for a few rows."""

    def __init__(self, model: TransformersModel, rows: int) -> None:
        super().__init__(model)
        self.rows = rows

    def error(self, batch: Batch) -> Exception | None:
        if len(batch) > self.rows:
            return RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return None


def test_a_broken_image_fails_alone(
    model: TransformersModel, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = texts(answers(model, questions()))
    broken = tmp_path_factory.mktemp("images") / "torn.png"
    broken.write_bytes((noise(0).data or b"")[:200])
    bad = ask("bad", "what?", [noise(1), Media("image", path=str(broken))])
    missing = ask("missing", "what?", [Media("image", path="/no/such/image.png")])
    completions = answers(model, [*questions()[:3], bad, missing, *questions()[3:]])
    for name in ("bad", "missing"):
        failure = completions.pop(name).failure
        assert failure is not None
        assert (failure.kind, failure.type) == ("sample", "SampleError")
        assert (str(broken) if name == "bad" else "/no/such/image.png") in failure.message
        assert failure.traceback is not None
    assert texts(completions) == expected


def test_a_prompt_over_the_context_fails_alone(model: TransformersModel) -> None:
    completions = answers(model, [*questions(2), ask("long", "x" * 3000, [noise(1)])])
    failure = completions.pop("long").failure
    assert failure is not None
    assert failure.kind == "sample"
    assert "1024" in failure.message
    assert len(texts(completions)) == 2


def test_a_prompt_that_the_processor_refuses_fails_alone(model: TransformersModel) -> None:
    """A placeholder that is meant as one, and has no image, makes the processor refuse the whole batch."""
    parts = (Part(media=noise(1)), Part(text="what is <image>?"))
    marker = Request(
        RequestKey("tiny", "marker"), (Message("user", parts, ("<image>",)),), questions(1)[0].generation
    )
    completions = answers(model, [*questions(3), marker])
    failure = completions.pop("marker").failure
    assert failure is not None
    assert failure.kind == "sample"
    assert texts(completions) == texts(answers(model, questions(3)))


def test_a_video_fails_with_a_reason(model: TransformersModel) -> None:
    completions = answers(model, [*questions(1), ask("film", "what?", [Media("video", path="/films/a.mp4")])])
    failure = completions.pop("film").failure
    assert failure is not None
    assert "/films/a.mp4" in failure.message
    assert len(texts(completions)) == 1


def test_out_of_memory_halves_the_batch_and_remembers(model: TransformersModel) -> None:
    expected = texts(answers(model, questions(20)))
    device = SmallDevice(model, rows=3)
    stream = ListStream(questions(20))
    assert {c.key.sample_id: c.text for c in model.generate(stream)} == expected
    assert device.sizes[:3] == [8, 4, 2]
    assert device.sizes.count(8) <= 2, "at most the batch that was already prepared is tried at the old size"
    assert stream.limits[-1] == 2
    assert model.slots == 2


class Roomy:
    """Device memory that holds twice `rows` with ease."""

    def __init__(self, device: SmallDevice) -> None:
        self.device = device

    def begin(self) -> None:
        """Nothing to note."""

    def room_for_twice(self) -> bool:
        return 2 * self.device.sizes[-1] <= self.device.rows

    def release(self) -> None:
        """Nothing to give back."""


def test_an_automatic_batch_size_grows_while_memory_allows(model: TransformersModel) -> None:
    expected = texts(answers(model, questions(40)))
    model._batch_size = BatchSize(1, 64)
    device = SmallDevice(model, rows=5)
    model._memory = Roomy(device)
    stream = ListStream(questions(40))
    assert {c.key.sample_id: c.text for c in model.generate(stream)} == expected
    assert max(device.sizes) == 4
    assert stream.limits[-1] == 4


def test_a_single_row_that_does_not_fit_is_a_transient_failure(model: TransformersModel) -> None:
    SmallDevice(model, rows=0)
    for completion in answers(model, questions(3)).values():
        assert completion.failure is not None
        assert completion.failure.kind == "transient"
        assert "out of memory" in completion.failure.message


def test_a_row_that_the_model_chokes_on_fails_alone(model: TransformersModel) -> None:
    class Picky(Device):
        def error(self, batch: Batch) -> Exception | None:
            names = [row.request.key.sample_id for row in batch.rows]
            return IndexError("index out of range in self") if "5" in names else None

    expected = texts(answers(model, questions()))
    Picky(model)
    completions = answers(model, questions())
    failure = completions.pop("5").failure
    assert failure is not None
    assert (failure.kind, failure.type) == ("sample", "IndexError")
    assert texts(completions) == {name: text for name, text in expected.items() if name != "5"}


def test_a_broken_device_is_the_replicas_end(model: TransformersModel) -> None:
    """After a device-side assert every further call fails; answering each sample with it would blame the samples."""

    class Broken(Device):
        def error(self, batch: Batch) -> Exception | None:
            return RuntimeError("CUDA error: device-side assert triggered")

    Broken(model)
    with pytest.raises(ReplicaError, match="device-side assert"):
        list(model.generate(ListStream(questions())))


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (OutOfMemoryError("anything"), "out of memory"),
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out of memory"),
        (RuntimeError("CUDA error: out of memory"), "out of memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"), "out of memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "broken device"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), "broken device"),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), "other"),
        (ValueError("CUDA error: quoted in something else"), "other"),
    ],
)
def test_device_errors_are_told_apart(error: Exception, meaning: str) -> None:
    assert classify(error) == meaning


def test_an_error_of_the_stream_reaches_the_caller(model: TransformersModel) -> None:
    """A lost connection must not look like the end of the work."""

    class Cut(ListStream):
        def take(self, limit: int) -> list[Request]:
            if len(self.limits) == 1:
                raise ConnectionError("coordinator gone")
            return super().take(limit)

    completions = model.generate(Cut(questions(12)))
    assert len([next(completions) for _ in range(8)]) == 8, "what was claimed before is answered"
    with pytest.raises(ConnectionError, match="coordinator gone"):
        next(completions)
