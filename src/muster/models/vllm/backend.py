"""The backend's story: pull while the engine has room, prepare in threads, yield answers as they come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

from muster.core import Completion, Failure, ReplicaError, Request, RequestError
from muster.models.api.traffic import Traffic
from muster.models.fetch import fetch_model
from muster.models.own_environment import own_environment
from muster.models.protocol import ModelKind, ModelSettings, RequestStream
from muster.models.registry import require
from muster.models.transformers.processor import load_processor, model_type
from muster.models.transformers.prompts import PromptRenderer
from muster.models.vllm.answers import (
    LIKELIHOOD,
    RequestOutput,
    completion_of,
    likelihood_of,
    likelihoods_as_completion,
    sampling_arguments,
)
from muster.models.vllm.options import (
    check_settings,
    engine_arguments,
    engine_variables,
    gives_videos,
    parse_options,
)
from muster.models.vllm.prompts import Prompt, Prompts
from muster.models.vllm.room import Room
from muster.models.vllm.versions import check_version
from muster.models.weights import check_weights

if TYPE_CHECKING:
    from muster.models.vllm.engine import Engine

require("vllm", "vllm")
check_version()

MEDIA_THREADS = 4

log = logging.getLogger(__name__)


class VllmModel:
    """One replica of a model in an engine of its own, which always has as many requests as it can use."""

    models: ClassVar[ModelKind] = "checkpoint"
    starts_processes: ClassVar[bool] = True
    likelihoods: ClassVar[bool] = True

    @staticmethod
    def check(settings: ModelSettings) -> None:
        """Raise `ConfigurationError` for what can be told without vLLM and without loading anything."""
        check_settings(settings)

    def __init__(self, settings: ModelSettings) -> None:
        self.check(settings)
        options = parse_options(settings.args)
        folder = fetch_model(settings.model, options.revision)  # once per node
        check_weights(folder)
        processor = load_processor(
            folder, options.for_processor, trust_remote_code=settings.trust_remote_code
        )
        renderer = PromptRenderer(processor, as_text=False)
        takes_videos = gives_videos(options.video, model_type(folder), possible=renderer.takes_videos)
        self.videos = "video" if takes_videos else "frames"
        """How it gets videos. See `Capacity`."""
        self._prompts = Prompts(renderer, options.max_images, takes_videos=takes_videos)
        self._arguments = engine_arguments(settings, options, str(folder), takes_videos=takes_videos)
        self._variables = engine_variables(options)
        self._max_in_flight = settings.max_in_flight
        self._started = itertools.count()
        self._engine: Engine | None = None
        self._start()

    def _start(self) -> Engine:
        with own_environment(self._variables):
            from muster.models.vllm.engine import Engine  # imports vLLM

        steps = _Steps()
        engine = self._engine = Engine(self._arguments, self._variables, steps)
        self._room = steps.room = Room(engine.facts.slots, self._max_in_flight)
        self._steps = steps
        self._end = weakref.finalize(self, engine.close)
        return engine

    @property
    def slots(self) -> int:
        """The most requests that it works on at the same time."""
        return self._room.most

    def generate(self, requests: RequestStream) -> Iterator[Completion]:
        """Answer requests as the engine finishes them.

        A sample that can't be prepared or that vLLM refuses fails alone. Raises `ReplicaError` when the engine has
        died; the next call starts another.
        """
        engine = self._engine or self._start()
        try:
            yield from Traffic(requests, self._desk, engine.run).answers()
        except ReplicaError:
            self.close()
            raise

    def close(self) -> None:
        """End the engine. Losing the last reference to the model does so too."""
        self._engine = None
        self._end()

    @contextlib.asynccontextmanager
    async def _desk(self, on_change: Callable[[], None]) -> AsyncIterator[_Desk]:
        assert self._engine is not None
        threads = ThreadPoolExecutor(MEDIA_THREADS, "muster-media")
        self._steps.on_more = on_change
        try:
            yield _Desk(self._engine, self._prompts, self._room, threads, self._started)
        finally:
            self._steps.on_more = None
            threads.shutdown(wait=False, cancel_futures=True)


class _Steps:
    """What the engine calls after each of its steps."""

    room: Room | None = None
    on_more: Callable[[], None] | None = None

    def __call__(self, running: int, waiting: int) -> None:
        if self.room is not None and self.room.seen(running, waiting) and self.on_more is not None:
            self.on_more()


class _Desk:
    """Answers single requests in the engine's event loop."""

    def __init__(
        self,
        engine: Engine,
        prompts: Prompts,
        room: Room,
        threads: ThreadPoolExecutor,
        started: Iterator[int],
    ) -> None:
        self._engine, self._prompts, self._room, self._threads = engine, prompts, room, threads
        self._started = started

    def places(self) -> int:
        """How many requests may be here at the moment."""
        return self._room.places

    async def complete(self, request: Request) -> Completion:
        """The completion of a request. Raises `ReplicaError` when the engine has died."""
        began = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            prompt = await loop.run_in_executor(self._threads, self._prompts.make, request)
            if request.continuations:
                return await self._weighed(request, prompt, began)
            sampling = sampling_arguments(request, self._engine.facts.generation_config)
            output = await self._ask(prompt, sampling)
            return completion_of(request, output, time.monotonic() - began, prompt.note)
        except ReplicaError:
            raise
        except RequestError as error:
            return _failed(request, error, began)
        except Exception as error:
            log.exception("%s could not be asked", request.key)
            return _failed(request, error, began)

    async def _weighed(self, request: Request, prompt: Prompt, began: float) -> Completion:
        """How likely the request's continuations are: one after the other, since it has one place."""
        found, prompt_tokens = [], None
        for tokens in self._prompts.continuations(request):
            output = await self._ask(prompt._replace(continuation=tokens), LIKELIHOOD)
            found.append(likelihood_of(output, tokens))
            if output.prompt_token_ids is not None:
                prompt_tokens = len(output.prompt_token_ids) - len(tokens)
        seconds = time.monotonic() - began
        return likelihoods_as_completion(request, found, prompt_tokens, seconds, prompt.note)

    async def _ask(self, prompt: Prompt, sampling: Mapping[str, object]) -> RequestOutput:
        # A name of its own for each attempt: the same request may come back after a lost connection.
        return await self._engine.answer(f"{next(self._started)}", prompt, sampling)


def _failed(request: Request, error: Exception, began: float) -> Completion:
    return Completion(request.key, failure=Failure.from_exception(error), seconds=time.monotonic() - began)
