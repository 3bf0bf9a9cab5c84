"""What replicas cost: of one GPU, of several by device map, of several by tensor parallelism. Random weights.

    python -m benchmarks.large_models [--quick] [--gpus K]

On a GPU machine the model has the size of a 7B LLaVA in bfloat16, on a CPU some twenty million parameters in float32.
For each way it says how long loading took, how much memory every device held with the weights alone and at its
fullest, and tokens per second. No aim: there is no alternative in the same run to compare with.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks.runs import scratch
from benchmarks.tables import machine, say, table
from muster.core import Generation, Media, Message, Part, Request, RequestKey

BATCH = 8
NEW_TOKENS = 32


class Measured(NamedTuple):
    """One way of running it."""

    load_seconds: float
    weights_gib: Sequence[float]
    """Per device of this process."""
    peak_gib: Sequence[float]
    tokens_per_second: float


class Questions:
    """A request stream of questions about one image of noise."""

    def __init__(self, count: int) -> None:
        content = io.BytesIO()
        Image.effect_noise((64, 64), 90).convert("RGB").save(content, "PNG")
        parts = (Part(media=Media("image", data=content.getvalue())), Part(text="What is shown?"))
        generation = Generation(max_new_tokens=NEW_TOKENS)
        self._left = [
            Request(RequestKey("noise", str(number)), (Message("user", parts),), generation)
            for number in range(count)
        ]

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        taken = self.take(1)
        if not taken:
            raise StopIteration
        return taken[0]

    def take(self, limit: int) -> list[Request]:
        """Up to so many questions."""
        taken, self._left = self._left[:limit], self._left[limit:]
        return taken


def measure(folder: Path, gpus: int, parallelism: str, batches: int) -> Measured:
    """Load one replica in this process, and answer some batches of questions about images of noise."""
    import torch

    from muster.models.protocol import ModelSettings
    from muster.models.transformers import TransformersModel

    began = time.perf_counter()
    settings = ModelSettings(
        str(folder),
        {"generation_eos_token_id": -1},  # every answer has its full length
        batch_size=BATCH,
        gpus_per_replica=gpus,
        parallelism="tensor" if parallelism == "tensor" else "device-map",
    )
    model = TransformersModel(settings)
    loaded = time.perf_counter() - began
    devices = [device for device in model._loaded.devices if device.type == "cuda"]
    weights = [torch.cuda.memory_allocated(device) for device in devices]
    list(model.generate(Questions(BATCH)))  # kernels are chosen and compiled
    began = time.perf_counter()
    done = list(model.generate(Questions(BATCH * batches)))
    seconds = time.perf_counter() - began
    tokens = sum(completion.usage.completion_tokens or 0 for completion in done)
    if tokens != BATCH * batches * NEW_TOKENS:
        raise SystemExit(f"{tokens} tokens: {next((each.failure for each in done if each.failure), None)}")
    peaks = [torch.cuda.max_memory_allocated(device) for device in devices]
    model.close()
    return Measured(loaded, [w / 2**30 for w in weights], [p / 2**30 for p in peaks], tokens / seconds)


def in_a_process(*arguments: str) -> str:
    """What another process of this module prints: memory and process groups end with it."""
    command = [sys.executable, "-m", "benchmarks.large_models", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout


def row(folder: Path, gpus: int, parallelism: str, batches: int) -> list[str]:
    """The table's line for one way."""
    said = in_a_process("--measure", str(folder), str(gpus), parallelism, str(batches))
    found = Measured(*json.loads(said.splitlines()[-1]))
    return [
        f"{gpus}, {parallelism}" if gpus > 1 else "1",
        f"{found.load_seconds:.1f}",
        " + ".join(f"{each:.2f}" for each in found.weights_gib) or "not measured",
        " + ".join(f"{each:.2f}" for each in found.peak_gib) or "not measured",
        f"{found.tokens_per_second:.0f}",
    ]


def compare(quick: bool, gpus: int | None) -> None:
    """Build the model, and print the table."""
    from muster.machine.gpus import visible_gpus

    there = len(visible_gpus())
    large = there > 0 and not quick
    several = gpus or (min(2, there) if there else 2)
    ways = [(1, "device-map")]
    if several > 1:
        ways += [(several, "device-map"), (several, "tensor")] if there else [(several, "tensor")]
    say("# Replicas of one and of several GPUs")
    say(machine())
    with scratch() as folder:
        in_a_process("--build", str(folder / "model"), "large" if large else "small")
        size = sum(each.stat().st_size for each in (folder / "model").glob("*.safetensors"))
        rows = [row(folder / "model", *way, 1 if quick else 8) for way in ways]
    table(
        f"A LLaVA of {size / 2**30:.2f} GiB, batches of {BATCH}, {NEW_TOKENS} tokens each",
        ["GPUs of the replica", "load, s", "weights, GiB", "at most, GiB", "tokens/s"],
        rows,
    )
    if not there:
        say(
            "Without GPUs, tensor parallelism is processes over Gloo that share the cores: it shows that it works."
        )


def main() -> None:
    """Compare, or do a part of it in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes also on a GPU")
    parser.add_argument("--gpus", type=int, help="of the larger replica (default 2)")
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        import torch

        from benchmarks.random_models import SIZES, build

        folder, size = arguments.build
        large = size == "large"
        device = "cuda" if torch.cuda.is_available() else "cpu"
        build(
            Path(folder),
            "llava",
            SIZES["llava", "7b" if large else "small"],
            "bfloat16" if large else "float32",
            device,
        )
    elif arguments.measure:
        folder, gpus, parallelism, batches = arguments.measure
        found = measure(Path(folder), int(gpus), parallelism, int(batches))
        sys.stdout.write("\n" + json.dumps(found) + "\n")
    else:
        compare(arguments.quick, arguments.gpus)


if __name__ == "__main__":
    main()
