"""As vLLM's module of this name."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from vllm import SamplingParams, behaviour
from vllm.config import VllmConfig
from vllm.exceptions import VLLMClientError
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError


@dataclass
class Output:
    text: str
    token_ids: list[int]
    finish_reason: str | None


@dataclass
class Logprob:
    logprob: float
    rank: int


@dataclass
class RequestOutput:
    prompt_token_ids: list[int]
    outputs: list[Output]
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    finished: bool = True


@dataclass
class Stats:
    num_running_reqs: int
    num_waiting_reqs: int


@dataclass
class TokenizeParams:
    add_special_tokens: bool = True

    def with_kwargs(self, add_special_tokens: bool) -> TokenizeParams:
        return TokenizeParams(add_special_tokens)


class Renderer:
    default_cmpl_tok_params = TokenizeParams()

    def __init__(self, asked: behaviour.Asked) -> None:
        self._asked = asked

    async def render_cmpl_async(self, prompts: list[Any], params: TokenizeParams) -> list[Any]:
        if behaviour.REFUSED in prompts[0]["prompt"]:
            raise VLLMClientError("The prompt is too long (parameter=input_tokens, value=999)")
        self._asked.special_tokens.append(params.add_special_tokens)
        return [{**each, "prompt_token_ids": [1, 2, 3]} for each in prompts]


@dataclass
class AsyncLLM:
    vllm_config: VllmConfig
    loggers: list[Any]
    asked: behaviour.Asked = field(default_factory=behaviour.Asked)
    output_handler: ClassVar[asyncio.Task[None] | None] = None

    def __post_init__(self) -> None:
        self.model_config = self.vllm_config.model_config
        self.renderer = Renderer(self.asked)
        self._places = asyncio.Semaphore(self.vllm_config.scheduler_config.max_num_seqs)
        self._waiting = 0
        # Outlives this process when it is killed, as vLLM's engine core does.
        self.core = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=False)
        self.core.start()
        behaviour.engines.append(self.asked)

    @classmethod
    def from_vllm_config(
        cls, vllm_config: VllmConfig, stat_loggers: list[Any], disable_log_stats: bool
    ) -> AsyncLLM:
        del disable_log_stats
        if vllm_config.ends_with is not None:
            ended = {"EngineCore_DP0": vllm_config.ends_with}
            raise RuntimeError(
                f"Engine core initialization failed. See root cause above. Failed core proc(s): {ended}"
            )
        return cls(vllm_config, [make(vllm_config, 0) for make in stat_loggers])

    async def generate(
        self, prompt: dict[str, Any], sampling_params: SamplingParams, request_id: str
    ) -> AsyncIterator[RequestOutput]:
        asked = self.asked
        asked.loops.add(asyncio.get_running_loop())
        asked.prompts.append(prompt)
        asked.settings.append(sampling_params.settings)
        assert request_id not in asked.names
        asked.names.append(request_id)
        text = prompt["prompt"]
        self._waiting += 1
        async with self._places:
            self._waiting -= 1
            asked.running += 1
            asked.most = max(asked.most, asked.running)
            self._record()
            try:
                if behaviour.KILLS in text:
                    self.core.kill()
                    self.core.join()
                await asyncio.sleep(600 if behaviour.ENDLESS in text else behaviour.SECONDS)
                if not self.core.is_alive():
                    raise EngineDeadError("dead")
                if behaviour.BROKEN in text:
                    raise EngineGenerateError from ZeroDivisionError("division by zero")
            except asyncio.CancelledError:
                asked.aborted.append(request_id)
                raise
            finally:
                asked.running -= 1
                self._record()
        asked.answered += 1
        reason = "abort" if behaviour.GIVEN_UP in text else "stop"
        tokens = prompt["prompt_token_ids"]
        output = RequestOutput(tokens, [Output(f"answer to {text[-40:]}", [4, 5], reason)])
        if "prompt_logprobs" in sampling_params.settings:  # the even ones are the likeliest
            output.prompt_logprobs = [
                None,
                *({each: Logprob(-each / 8, 1 + each % 2)} for each in tokens[1:]),
            ]
        yield output

    def _record(self) -> None:
        for each in self.loggers:
            each.record(Stats(self.asked.running, self._waiting), None)

    def shutdown(self, timeout: float | None = None) -> None:
        self.core.kill()
        self.core.join(timeout)
