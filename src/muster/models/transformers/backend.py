"""The backend's story: claim and prepare in the background, generate, halve what doesn't fit."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from muster.core import Completion, ConfigurationError, Failure, Request, Usage
from muster.models.fetch import fetch_model
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.transformers.batch_size import BatchSize, failure_of
from muster.models.transformers.cores import wants_process
from muster.models.transformers.imports import import_transformers
from muster.models.transformers.internals import lacking, need, untried
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
from muster.models.transformers.trial import Trial, try_out

if TYPE_CHECKING:
    from muster.models.transformers.continuous import ContinuousBatching
    from muster.models.transformers.generation import Answer, Generator
    from muster.models.transformers.loading import Loaded
    from muster.models.transformers.memory import DeviceMemory


class Answering(Protocol):
    """What runs batches: `Generator`, alone or with others."""

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises whatever the device raises."""
        ...


log = logging.getLogger(__name__)


class TransformersModel:
    """One replica of a model that transformers loads, answering in static batches.

    Greedy by default; a sampled answer depends on the generation seed and the request alone (see `sampling`).
    """

    models: ClassVar[ModelKind] = "checkpoint"
    likelihoods: ClassVar[bool] = True
    _static: str | None
    """Why rows aren't exchanged; None where they are."""

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
        import_transformers()
        need("loading")
        # These import torch and transformers.
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.image_cache import ImageCache
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
            generator = Generator(loaded, tokenizer)
            self._equip(loaded, generator, memory, batch_size, options.video)
            self._try_out(generator, options)
            if options.image_cache:
                need("image cache")
                generator.images = ImageCache(options.image_cache)
                generator.images.attach(loaded.model)
        else:
            shared = SharedMemory(memory, members)
            leading = LeadingGenerator(loaded, tokenizer, members)
            self._equip(loaded, leading, shared, batch_size, options.video)
            self._static = "--parallelism tensor"

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
        self._static = "the model is in training"
        self._distrust: str | None = None

    @property
    def videos(self) -> str:
        """How it gets videos. See `Capacity`."""
        return "video" if self._preparer.takes_videos else "frames"

    @property
    def slots(self) -> int:
        """The most requests in one batch."""
        return self._batch_size.ceiling

    @property
    def batched(self) -> bool:
        """Whether the requests of a batch end together."""
        return self._static is not None

    @property
    def notes(self) -> dict[str, str]:
        """See `Capacity`."""
        notes = {} if self._static is None else {"batching": f"static ({self._static})"}
        if self._distrust is not None:
            notes["batch size"] = f"1 ({self._distrust})"
        if reset := self._loaded.own.described():
            notes["generation_config.json"] = f"not followed: {reset}"
        if (version := untried()) is not None:
            notes["transformers"] = version
        if self._loaded.weights:
            notes["weights"] = self._loaded.weights
        return notes

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests as rows of one batch after the other, or of one that never ends; what is next is prepared.

        A sample that can't be prepared or answered fails alone. Raises `ReplicaError` when the device is broken.
        """
        continuous = self._continuous_batching() if self._static is None else None

        def claim() -> list[Request] | None:
            return requests.take(self._batch_size.limit if continuous is None else continuous.claim) or None

        with OneAhead(claim, self._prepare, "muster-prepare") as ahead:
            if continuous is not None:
                yield from continuous.answers(ahead)
            else:
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

    def _continuous_batching(self) -> ContinuousBatching:
        from muster.models.transformers.continuous import ContinuousBatching
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.running import RunningRows

        assert isinstance(self._generator, Generator)
        return ContinuousBatching(RunningRows(self._generator), self._batch_size, self._memory, self)

    def _try_out(self, generator: Generator, options: Options) -> None:
        """Find out what batches the model can be asked in.

        Raises `ConfigurationError` where rows can't be exchanged and were to.
        """
        trial = None
        if self._batch_size.ceiling > 1:
            trial = try_out(self._preparer, generator, precise=_precise(self._loaded))
        if trial is not None and (reason := trial.batch()) is not None:
            log.warning("the batch size is 1: %s", reason)
            self._batch_size, self._distrust = BatchSize(1, 1), reason
        self._static = why_static(generator, options, trial, self._batch_size)

    def _answer(self, prepared: Prepared) -> Iterator[Completion]:
        yield from prepared.failures
        for batch in prepared.batches:
            outcome = self._run(batch)
            if isinstance(outcome, list):
                yield from outcome
            else:
                yield from self.answer_in_halves([row.request for row in batch.rows], outcome)

    def _run(self, batch: Batch) -> list[Completion] | Failure:
        """Answer a batch, or say why it failed as a whole; the exception, which holds on to memory, is gone then."""
        started = time.perf_counter()
        self._memory.begin()
        try:
            answers = self._answers_of(batch)
        except Exception as error:  # noqa: BLE001 - becomes a record, or ends the replica
            return failure_of(error, self._batch_size, len(batch))
        if self._batch_size.growing:
            self._batch_size.worked(len(batch), room_for_twice=self._memory.room_for_twice())
        return _completions(batch, answers, time.perf_counter() - started)

    def _answers_of(self, batch: Batch) -> list[Answer]:
        if not batch.rows[0].request.continuations:
            return self._generator.answer(batch)
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.likelihood import likelihoods

        if not isinstance(self._generator, Generator):
            raise ConfigurationError("how likely given texts are is told by a replica of one process only")
        return likelihoods(self._generator, batch)

    def answer_batch(self, batch: Batch) -> Iterator[Completion]:
        """A batch that is prepared, by itself."""
        return self._answer(Prepared((batch,), ()))

    def answer(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """In static batches, by themselves."""
        yield from self._answer(self._preparer.prepare(requests))

    def answer_in_halves(self, requests: Sequence[Request], failure: Failure) -> Iterator[Completion]:
        """Try again with half as many rows at a time; a row that fails alone has failed."""
        self._memory.release()
        if len(requests) == 1:
            yield Completion(requests[0].key, failure=failure)
            return
        middle = len(requests) // 2
        for half in (requests[:middle], requests[middle:]):
            yield from self.answer(half)


def why_static(
    generator: Generator, options: Options, trial: Trial | None, batch_size: BatchSize
) -> str | None:
    """Why rows aren't exchanged, or None. Raises `ConfigurationError` where they can't and were to."""
    if options.batching == "static":
        return "--model-args batching=static"
    reason = lacking("continuous batches")
    if reason is None:
        from muster.models.transformers.running import refusal

        reason = refusal(generator)
    if reason is None and trial is not None:
        reason = trial.exchange()
    if reason is not None and options.batching == "continuous":
        raise ConfigurationError(
            f"--model-args batching=continuous: not with this model, {reason}; leave it out for static batches"
        )
    if reason is None and batch_size.ceiling == 1 and options.batching == "auto":
        return "the batch size is 1"
    return reason


def _precise(loaded: Loaded) -> bool:
    """Whether a model computes in float32, not in half of it or less."""
    dtype = loaded.model.dtype
    return dtype.is_floating_point and dtype.itemsize >= 4


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
