"""One engine and the event loop that it lives in. Importing this imports vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import multiprocessing
import re
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.metrics.loggers import StatLoggerBase

from muster.core import ConfigurationError, LostMemberError, ReplicaError, SampleError
from muster.core.text import did_you_mean
from muster.models.keeper import Keeper
from muster.models.own_environment import own_environment
from muster.models.transformers.preparation import video_metadata
from muster.models.vllm.answers import RequestOutput
from muster.models.vllm.prompts import Prompt

T = TypeVar("T")
LOOK_SECONDS = 0.1
"""How often, while an engine starts, it is looked which processes it has started."""
SHUTDOWN_SECONDS = 10.0
JOIN_SECONDS = 1.0
KILLED = re.compile(r"Failed core proc\(s\): \{[^}]*: -\d")
"""What vLLM says of an engine that a signal ended while it started."""


class DeadEngineError(ReplicaError):
    """The engine's process is gone; another engine has to be started."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine says of itself once it has started."""

    slots: int
    """Sequences that it works on at the same time, at most."""
    generation_config: Mapping[str, object]
    """The model's own sampling settings, those that differ from vLLM's."""


class Engine:
    """vLLM's `AsyncLLM`, with a thread of its own for the event loop that all its parts belong to."""

    def __init__(
        self,
        arguments: Mapping[str, object],
        variables: Mapping[str, str],
        on_step: Callable[[int, int], None],
    ) -> None:
        """Start it.

        Args:
            arguments: of `AsyncEngineArgs`.
            variables: of the environment, for its processes.
            on_step: hears in the event loop, after each step, how many requests run and how many wait.

        Raises:
            ConfigurationError: vLLM can't do what the arguments ask for, or not with this model.
            LostMemberError: a signal ended the engine's process.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="muster-vllm", daemon=True)
        self._thread.start()
        self._keeper = Keeper()
        try:
            self._llm = self._started(self._submit(_start(arguments, variables, on_step)))
        except BaseException:
            self.close()
            raise
        config = self._llm.vllm_config
        self.facts = Facts(
            config.scheduler_config.max_num_seqs, config.model_config.get_diff_sampling_param()
        )

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in the engine's event loop, and wait for its end. Raises what it raises."""
        self._submit(work).result()

    async def answer(self, name: str, prompt: Prompt, sampling: Mapping[str, object]) -> RequestOutput:
        """Have one request answered; to be called in the engine's event loop. Cancelling it aborts the request.

        Raises:
            SampleError: vLLM refuses the prompt: too long, more images than it takes …
            DeadEngineError: the engine's process is gone.
        """
        try:
            settings = SamplingParams(**dict(sampling), output_kind=RequestOutputKind.FINAL_ONLY)
            rendered = await self._render(prompt)
            async for output in self._llm.generate(rendered, settings, name):
                if output.finished:
                    return cast("RequestOutput", output)
        except EngineDeadError as error:
            raise DeadEngineError("vLLM's engine has died; its own words are above, in this log") from error
        except EngineGenerateError as error:
            raise SampleError(f"vLLM can't answer this request: {error.__cause__ or error}") from error
        except (VLLMClientError, ValueError, TypeError) as error:
            raise SampleError(f"vLLM refuses the request: {error}") from error
        raise DeadEngineError("vLLM's engine ended without an answer")

    async def _render(self, prompt: Prompt) -> Any:
        """Token ids and processed images and videos, made in the renderer's threads."""
        content: dict[str, object] = {"prompt": prompt.text}
        media: dict[str, list[object]] = {}
        if prompt.images:
            media["image"] = list(prompt.images)
            content["multi_modal_uuids"] = {"image": list(prompt.identities)}
        if prompt.videos:
            media["video"] = [
                (video.pixels, {**video_metadata(video), "do_sample_frames": False})
                for video in prompt.videos
            ]
            content["mm_processor_kwargs"] = {"do_sample_frames": False}
        if media:
            content["multi_modal_data"] = media
        renderer = self._llm.renderer
        tokens = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=prompt.add_special_tokens)
        parsed = parse_model_prompt(self._llm.model_config, content)
        (rendered,) = await renderer.render_cmpl_async([parsed], tokens)
        if prompt.continuation:  # as tokens, so that none is joined with the prompt's last one
            rendered["prompt_token_ids"] = [*rendered["prompt_token_ids"], *prompt.continuation]
        return rendered

    def close(self) -> None:
        """End the engine's processes and the event loop. May be called twice, from any thread."""
        llm = self.__dict__.pop("_llm", None)
        if llm is not None:
            if llm.output_handler is not None:  # else it takes the end of the engine for its death
                with contextlib.suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(llm.output_handler.cancel)
            with contextlib.suppress(Exception):
                llm.shutdown(timeout=SHUTDOWN_SECONDS)
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._keeper.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * JOIN_SECONDS)

    def _live(self) -> None:
        # Children inherit what their thread blocks: Ctrl-C reaches a terminal's processes all at once, and is this
        # one's to handle, which has answers to wait for.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for each in tasks:
            each.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=JOIN_SECONDS))
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _started(self, starting: Future[AsyncLLM]) -> AsyncLLM:
        """Wait, and have the keeper know of every process that the engine starts meanwhile."""
        before = _children()
        while not starting.done():
            wait([starting], LOOK_SECONDS)
            self._keeper.watch(*_children() - before)
        return starting.result()


def _children() -> set[int]:
    """Processes that vLLM, and whoever else uses multiprocessing here, have started."""
    return {each.pid for each in multiprocessing.active_children() if each.pid is not None}


async def _start(
    arguments: Mapping[str, object], variables: Mapping[str, str], on_step: Callable[[int, int], None]
) -> AsyncLLM:
    class Steps(StatLoggerBase):  # type: ignore[misc]  # vLLM makes it itself, and passes nothing of ours
        def __init__(self, vllm_config: object, engine_index: int = 0) -> None:
            del vllm_config, engine_index

        def record(self, scheduler_stats: Any, *_args: object, **_more: object) -> None:
            if scheduler_stats is not None:
                on_step(scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs)

        def log_engine_initialized(self) -> None:
            pass

    model = arguments["model"]
    _check_names(arguments)
    with own_environment(variables):
        try:
            config = AsyncEngineArgs(**dict(arguments)).create_engine_config()
        except Exception as error:
            raise ConfigurationError(f"vLLM can't load {model} so: {error}") from error
        try:
            return AsyncLLM.from_vllm_config(config, stat_loggers=[Steps], disable_log_stats=True)
        except Exception as error:
            kind = LostMemberError if KILLED.search(str(error)) else ConfigurationError
            raise kind(
                f"vLLM's engine didn't start with {model}: {error} (its own words are above, in this worker's log)"
            ) from error


def _check_names(arguments: Mapping[str, object]) -> None:
    known = [each.name for each in dataclasses.fields(AsyncEngineArgs)]
    for name in arguments:
        if name not in known:
            raise ConfigurationError(
                f"--model-args {name}: neither this backend nor vLLM's AsyncEngineArgs has such an argument"
                f"{did_you_mean(name, known)}"
            )
