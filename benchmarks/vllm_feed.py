"""How close the vllm backend comes to an engine that has all requests at once, and how far it is from one by one.

    python -m benchmarks.vllm_feed [--quick] [--model MODEL] [--requests N] [--slots N]

Needs vLLM. The same requests, each with an image of its own, are answered by

- `LLM.chat` with everything at once, images decoded beforehand: the ceiling;
- Muster's backend, which pulls them one by one from a stream and decodes their images meanwhile;
- Muster's backend that starts `vllm serve` and asks it over HTTP, as many in flight as the engine has slots;
- `LLM.chat` with one at a time.

Each way has a process and an engine of its own; what is measured begins when the engine is ready and warm. On a machine
with GPUs the requests are larger (images of 224 to 1,024 pixels, 16 to 256 new tokens); name a model that is worth it.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

from benchmarks.tables import machine, say, table, verdict
from muster.core import Generation, Media, Message, Part, Request, RequestKey
from muster.machine.gpus import visible_gpus
from muster.models.protocol import Model, ModelSettings
from muster.models.registry import load_backend, resolve_model
from muster.models.vllm.versions import installed_version

AIM = 0.9
"""Of the ceiling's requests per second."""
WARM_UP = 16
ONE_BY_ONE_SHARE = 8
"""One by one only every so many are asked: the rate is the same, and nobody has the time."""
WAYS = ("all at once", "vllm", "vllm-server", "one by one")


class Size(NamedTuple):
    """What is asked."""

    sides: tuple[int, int]
    """Of images, in pixels."""
    tokens: tuple[int, int]
    """Of answers, at most."""
    engine: dict[str, Any]


ON_CPU = Size((16, 64), (4, 32), {"dtype": "float32", "max_model_len": 256, "enforce_eager": True})
ON_GPU = Size((224, 1024), (16, 256), {"max_model_len": 8192})


class Measured(NamedTuple):
    """One way's result."""

    requests: int
    seconds: float
    tokens: int
    """Generated."""
    texts: dict[str, str]


class Stream:
    """A scheduler that has everything."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = iter(requests)

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        return next(self._requests)

    def take(self, limit: int) -> list[Request]:
        """See `RequestStream`."""
        return [request for request, _ in zip(self._requests, range(limit), strict=False)]


def make_requests(count: int, size: Size, seed: int) -> list[Request]:
    """Questions about images of noise, in a random order of sizes and lengths."""
    random_numbers = random.Random(seed)
    requests = []
    for index in range(count):
        image = noise(random_numbers, size.sides)
        parts = (
            Part(media=Media("image", data=image)),
            Part(text=f"Question {index}: which digit is shown?"),
        )
        limit = random_numbers.randint(*size.tokens)
        requests.append(
            Request(
                RequestKey("feed", str(index)), (Message("user", parts),), Generation(max_new_tokens=limit)
            )
        )
    return requests


def noise(random_numbers: random.Random, sides: tuple[int, int]) -> bytes:
    """A JPEG."""
    import io

    from PIL import Image

    width, height = (random_numbers.randint(*sides) for _ in range(2))
    small = Image.frombytes("RGB", (8, 8), random_numbers.randbytes(192))
    buffer = io.BytesIO()
    small.resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


class Closable(Model, Protocol):
    """A model that has processes of its own."""

    def close(self) -> None:
        """End them."""
        ...


def by_muster(backend: str, model: str, slots: int, size: Size, requests: list[Request]) -> Measured:
    """One of Muster's backends."""
    args: dict[str, Any] = {**size.engine, "max_num_seqs": slots}
    if backend == "vllm-server":
        engine = {"limit_mm_per_prompt": {"image": 1, "video": 0}, **args}
        args = {"python": sys.executable, "server_args": engine}
        settings = ModelSettings(model, args, max_in_flight=slots)
    else:
        settings = ModelSettings(model, args, most_images=1)
    loaded = cast("Closable", load_backend(backend)(settings))
    list(loaded.generate(Stream(make_requests(WARM_UP, size, seed=1))))
    began = time.perf_counter()
    answers = list(loaded.generate(Stream(requests)))
    seconds = time.perf_counter() - began
    loaded.close()
    if failed := [each.failure for each in answers if each.failure is not None]:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0].message}")
    tokens = sum(each.usage.completion_tokens or 0 for each in answers)
    return Measured(len(answers), seconds, tokens, {each.key.sample_id: each.text or "" for each in answers})


def by_vllm(model: str, slots: int, size: Size, requests: list[Request], *, at_once: bool) -> Measured:
    """VLLM's own offline interface."""
    from vllm import LLM, SamplingParams

    from muster.media import load_image

    llm = LLM(model, max_num_seqs=slots, limit_mm_per_prompt={"image": 1, "video": 0}, **size.engine)

    def ask(given: list[Request]) -> list[Any]:
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_pil", "image_pil": load_image(request.media[0])},
                        {"type": "text", "text": request.messages[0].text},
                    ],
                }
            ]
            for request in given
        ]
        settings = [
            SamplingParams(temperature=0, max_tokens=each.generation.max_new_tokens) for each in given
        ]
        began = time.perf_counter()
        groups = [(conversations, settings)] if at_once else zip(conversations, settings, strict=True)
        outputs = []
        for conversation, setting in groups:
            outputs += llm.chat(conversation, setting, use_tqdm=False)
        return [time.perf_counter() - began, *outputs]

    ask(make_requests(WARM_UP, size, seed=1))
    requests = requests if at_once else requests[::ONE_BY_ONE_SHARE]
    seconds, *outputs = ask(requests)
    llm.llm_engine.engine_core.shutdown()  # it would outlive this process
    texts = {
        request.key.sample_id: output.outputs[0].text
        for request, output in zip(requests, outputs, strict=True)
    }
    tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
    return Measured(len(outputs), seconds, tokens, texts)


def measure(way: str, model: str, slots: int, count: int, size: Size) -> Measured:
    """One way, in this process."""
    requests = make_requests(count, size, seed=0)
    if way in ("vllm", "vllm-server"):
        return by_muster(way, model, slots, size, requests)
    return by_vllm(model, slots, size, requests, at_once=way == "all at once")


def apart(way: str, arguments: Sequence[str]) -> Measured:
    """One way, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.vllm_feed", "--way", way, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{way} failed with status {done.returncode}")
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def report(measured: dict[str, Measured]) -> bool:
    """The table; whether the aim was met."""
    ceiling = measured["all at once"]
    rates = {way: each.requests / each.seconds for way, each in measured.items()}
    rows = [
        [
            way,
            f"{each.requests:,}",
            f"{each.seconds:.1f}",
            f"{rates[way]:.1f}",
            f"{each.tokens / each.seconds:,.0f}",
            f"{rates[way] / rates['all at once']:.2f}",
            f"{rates[way] / rates['one by one']:.1f}",
            f"{sum(each.texts[key] == ceiling.texts[key] for key in each.texts) / len(each.texts):.3f}",
        ]
        for way, each in measured.items()
    ]
    header = [
        "",
        "requests",
        "s",
        "requests/s",
        "tokens/s",
        "of the ceiling",
        "times one by one",
        "same answers",
    ]
    table("The same requests, fed in four ways", header, rows)
    return verdict(
        f"the vllm backend at least at {AIM} of all at once", rates["vllm"] >= AIM * rates["all at once"]
    )


def main() -> int:
    """Measure all ways, or one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few requests: numbers that mean little")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--slots", type=int, default=0, help="max_num_seqs; 8 on a CPU, 64 on a GPU")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    size, slots = (ON_GPU, given.slots or 64) if visible_gpus() else (ON_CPU, given.slots or 8)
    count = 64 if given.quick else given.requests
    model = resolve_model(given.model)
    if given.way:
        print(json.dumps(measure(given.way, model, slots, count, size)), flush=True)
        return 0
    print(f"# Feeding vLLM\n\n{machine()}")
    say(f"vLLM {installed_version()}; model {given.model}; {count} requests, {slots} slots (max_num_seqs).")
    arguments = ["--model", given.model, "--requests", str(count), "--slots", str(slots)]
    return 0 if report({way: apart(way, arguments) for way in WAYS}) else 1


if __name__ == "__main__":
    sys.exit(main())
