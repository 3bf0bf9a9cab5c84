"""The backend's story: claim and prepare in the background, generate, halve what doesn't fit."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from muster.core import Completion, Failure, ReplicaError, Request, TransientError, Usage
from muster.models.fetch import fetch_model
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.transformers.batch_size import BatchSize
from muster.models.transformers.cores import wants_process
from muster.models.transformers.device_errors import classify
from muster.models.transformers.options import Options, VideoForm, check_settings, parse_options
from muster.models.transformers.prefetch import OneAhead
from muster.models.transformers.preparation import Batch, Prepared, Preparer
from muster.models.transformers.preparation_process import PreparationProcess
from muster.models.transformers.tensor.leading import (
    LeadingGenerator,
    SharedMemory,
    load_parts,
    start_members,
)
from muster.models.transformers.tensor.members import Members

if TYPE_CHECKING:
    from muster.models.transformers.generation import Answer
    from muster.models.transformers.loading import Loaded
    from muster.models.transformers.memory import DeviceMemory


class Answering(Protocol):
    """What runs batches: `Generator`, alone or with others."""

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises whatever the device raises."""
        ...


class TransformersModel:
    """One replica of a model that transformers loads, answering in static batches.

    Greedy by default; a sampled answer depends on the generation seed and the request alone (see `sampling`).
    """

    models: ClassVar[ModelKind] = "checkpoint"
    batched = True

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` for what can be told without torch and without loading anything."""
        check_settings(settings)

    def __init__(self, settings: ModelSettings) -> None:
        self.check(settings)
        options = parse_options(settings.args)
        trust = settings.trust_remote_code
        self._process: PreparationProcess | None = None
        self._members: Members | None = None
        try:
            if settings.parallelism == "tensor" and settings.gpus_per_replica > 1:
                self._members = start_members(settings, options)
            folder = fetch_model(settings.model, options.revision)  # once per node
            if wants_process(options.preparation):
                # It imports and loads at the same time as this one.
                self._process = PreparationProcess.start(folder, options, trust_remote_code=trust)
            self._load(folder, options, settings)
        except BaseException:
            self.close()
            raise

    def _load(self, folder: Path, options: Options, settings: ModelSettings) -> None:
        # These import torch and transformers.
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.loading import load
        from muster.models.transformers.memory import watch_memory

        trust, members = settings.trust_remote_code, self._members
        if members is None:
            loaded = load(folder, options, trust_remote_code=trust, gpus=settings.gpus_per_replica)
        else:
            loaded = load_parts(members, folder, options, settings)
        # The background thread pads with the processor's tokenizer while this one decodes; a tokenizer can't do both.
        tokenizer = copy.deepcopy(loaded.processor.tokenizer)
        memory = watch_memory(loaded.devices)
        batch_size = BatchSize.choose(settings.batch_size, on_gpu=loaded.input_device.type == "cuda")
        if members is None:
            self._equip(loaded, Generator(loaded, tokenizer), memory, batch_size, options.video)
        else:
            shared = SharedMemory(memory, members)
            leading = LeadingGenerator(loaded, tokenizer, members)
            self._equip(loaded, leading, shared, batch_size, options.video)

    @classmethod
    def of_loaded(
        cls, loaded: Loaded, generator: Answering, memory: DeviceMemory, batch_size: BatchSize
    ) -> Self:
        """A replica of a model that is loaded already, answering through `generator`."""
        model = cls.__new__(cls)
        model._process = model._members = None
        model._equip(loaded, generator, memory, batch_size, "auto")
        return model

    def _equip(
        self,
        loaded: Loaded,
        generator: Answering,
        memory: DeviceMemory,
        batch_size: BatchSize,
        videos: VideoForm,
    ) -> None:
        self._loaded, self._generator, self._memory = loaded, generator, memory
        self._on_gpu = loaded.input_device.type == "cuda"
        self._preparer = Preparer(
            loaded.processor, loaded.context_limit, pin_memory=self._on_gpu, videos=videos
        )
        self._batch_size = batch_size

    @property
    def videos(self) -> str:
        """How it gets videos. See `Capacity`."""
        return "video" if self._preparer.takes_videos else "frames"

    @property
    def slots(self) -> int:
        """The most requests in one batch."""
        return self._batch_size.ceiling

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests batch by batch, one batch prepared ahead.

        A sample that can't be prepared or answered fails alone. Raises `ReplicaError` when the device is broken.
        """

        def next_batches() -> Prepared | None:
            claimed = requests.take(self._batch_size.limit)
            return self._prepare(claimed) if claimed else None

        with OneAhead(next_batches, "muster-prepare") as ahead:
            for prepared in ahead:
                yield from self._answer(prepared)

    def close(self) -> None:
        """End what runs beside this process. Losing the last reference to the model does so too."""
        if self._process is not None:
            self._process.close()
        if self._members is not None:
            self._members.close()

    def _prepare(self, requests: list[Request]) -> Prepared:
        """In the process beside this one, or here where there is none or it can't."""
        if self._process is not None:
            prepared = self._process.prepare(requests, self._loaded.context_limit, pin_memory=self._on_gpu)
            if prepared is not None:
                return prepared
        return self._preparer.prepare(requests)

    def _answer(self, prepared: Prepared) -> Iterator[Completion]:
        yield from prepared.failures
        for batch in prepared.batches:
            outcome = self._run(batch)
            if isinstance(outcome, list):
                yield from outcome
            else:
                yield from self._in_halves(batch, outcome)

    def _run(self, batch: Batch) -> list[Completion] | Failure:
        """Answer a batch, or say why it failed as a whole; the exception, which holds on to memory, is gone then."""
        started = time.perf_counter()
        self._memory.begin()
        try:
            answers = self._generator.answer(batch)
        except ReplicaError:
            raise
        except Exception as error:
            kind = classify(error)
            if kind == "broken device":
                raise ReplicaError(f"the device failed: {error}") from error
            if kind == "other":
                return Failure.from_exception(error)
            self._batch_size.ran_out_of_memory(len(batch))
            failure = TransientError(f"out of memory with a batch of {len(batch)}: {error}")
            return Failure.from_exception(failure.with_traceback(error.__traceback__))
        if self._batch_size.growing:
            self._batch_size.worked(len(batch), room_for_twice=self._memory.room_for_twice())
        return _completions(batch, answers, time.perf_counter() - started)

    def _in_halves(self, batch: Batch, failure: Failure) -> Iterator[Completion]:
        """Try again with half as many rows at a time; a row that fails alone has failed."""
        self._memory.release()
        if len(batch) == 1:
            yield Completion(batch.rows[0].request.key, failure=failure)
            return
        middle = len(batch) // 2
        for half in (batch.rows[:middle], batch.rows[middle:]):
            yield from self._answer(self._preparer.prepare(row.request for row in half))


def _completions(batch: Batch, answers: list[Answer], seconds: float) -> list[Completion]:
    return [
        Completion(
            row.request.key,
            text=answer.text,
            usage=Usage(prompt_tokens, answer.tokens),
            seconds=seconds,
            finish_reason=answer.finish_reason,
            note=row.note,
        )
        for row, answer, prompt_tokens in zip(batch.rows, answers, batch.prompt_tokens, strict=True)
    ]
