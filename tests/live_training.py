"""Training jobs in which a live model is evaluated, for torchrun: `live_training.py CASES FOLDER`.

Each rank writes what it saw as `FOLDER/rank-N.json`, by case.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForImageTextToText, AutoProcessor

import muster
from muster.core import MusterError
from muster.demo import demo_model_path
from muster.live.fsdp2 import notes_for_backward, sharded_modules
from muster.results.journal import read_journal

FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
PROCESSOR: Any = AutoProcessor.from_pretrained(demo_model_path()) if len(sys.argv) > 2 else None


def load(**options: Any) -> Any:
    return AutoModelForImageTextToText.from_pretrained(
        demo_model_path(), dtype=torch.float32, **options
    ).train()


def batch() -> dict[str, torch.Tensor]:
    """One training batch; its noise comes from the random state that an evaluation must not change."""
    from PIL import Image

    image = Image.fromarray((np.random.default_rng(0).random((32, 32, 3)) * 255).astype("uint8"))
    inputs = PROCESSOR(text=["<image> Which digit?"] * 2, images=[[image], [image]], return_tensors="pt")
    noise = torch.randn_like(inputs["pixel_values"]) + random.random() + np.random.random()
    return {**inputs, "pixel_values": inputs["pixel_values"] + 0.1 * noise, "labels": inputs["input_ids"]}


def train(model: Any, steps: int, between: Callable[[int], object] = lambda _step: None) -> list[float]:
    """The losses. `between` is called with gradients in place, before the optimiser's step."""
    torch.manual_seed(dist.get_rank())
    random.seed(1)
    np.random.seed(2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        loss = model(**batch()).loss
        loss.backward()
        between(step)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


def evaluate(model: Any, name: str, **options: Any) -> Any:
    settings = {"limit": 30, "batch_size": 2, "output": FOLDER / name, **options}
    return muster.evaluate(model, "digits_read", PROCESSOR, **settings)


def error_of(model: Any, name: str, **options: Any) -> str:
    """How an evaluation fails: `RunError: …`."""
    try:
        evaluate(model, name, **options)
    except (MusterError, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def state(model: Any) -> dict[str, str]:
    """What an evaluation must leave alone, in a form that can be compared."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    return {
        "python": str(hash(random.getstate())),
        "numpy": str(np.random.get_state()),
        "torch": str(torch.get_rng_state().sum().item()),
        "modes": str([module.training for module in inner.modules()]),
        "checkpointing": str([getattr(module, "gradient_checkpointing", None) for module in inner.modules()]),
        "needs": str([parameter.requires_grad for parameter in inner.parameters()]),
        "gradients": str([None if p.grad is None else p.grad.sum().item() for p in inner.parameters()]),
        "hooks": str([len(m._forward_hooks) + len(m._forward_pre_hooks) for m in inner.modules()]),
        "attributes": str([sorted(vars(module)) for module in inner.modules()]),
        "buffers": str([(name, id(buffer)) for name, buffer in inner.named_buffers()]),
        "generation": f"{id(inner.generation_config)} {inner.generation_config.to_json_string()}",
        "config": inner.config.to_json_string(),
        "processor": PROCESSOR.tokenizer.padding_side,
        "groups": str(len(dist.distributed_c10d._world.pg_map)),
        "signals": str([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]),
        "torch settings": f"{torch.get_default_dtype()} {torch.get_num_threads()} {torch.is_grad_enabled()} "
        f"{torch.is_autocast_enabled('cpu')} {torch.backends.cudnn.benchmark} {torch.backends.cudnn.deterministic} "
        f"{torch.get_float32_matmul_precision()} {torch.is_inference_mode_enabled()}",
        "sockets": str(_sockets()),
    }


def _sockets() -> int:
    gc.collect()
    return sum(
        connection.status != psutil.CONN_NONE for connection in psutil.Process().net_connections("tcp")
    )


def on_forward(model: Any, name: str, act: Callable[[], object]) -> Any:
    """Do something in every forward pass, once both ranks have something to do; returns what takes it away."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    (FOLDER / "begun").mkdir(exist_ok=True)

    def before_forward(*_args: object) -> None:
        (FOLDER / "begun" / f"{name}-{dist.get_rank()}").touch()
        limit = time.monotonic() + 240
        while len(list((FOLDER / "begun").glob(f"{name}-*"))) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
        act()

    return inner.register_forward_pre_hook(before_forward)


def data_parallel() -> dict[str, Any]:
    """A copy on every rank; the second rank is slow."""
    seen: dict[str, Any] = {}
    rank = dist.get_rank()

    def between(step: int) -> None:
        if step != 1:
            return
        slow = on_forward(model, "ddp", lambda: time.sleep(0.3 * rank))
        before = state(model)
        seen["results"] = str(evaluate(model, "ddp").tasks)
        after = state(model)
        slow.remove()
        seen["changed"] = [name for name in before if before[name] != after[name]]

    plain = DistributedDataParallel(load(), find_unused_parameters=True)
    model = DistributedDataParallel(load(), find_unused_parameters=True)
    model.module.gradient_checkpointing_enable()
    plain.module.gradient_checkpointing_enable()
    return {"without": train(plain, 3), "with": train(model, 3, between), **seen}


def failures() -> dict[str, Any]:
    """What becomes of an evaluation when one rank fails; the job trains on after each."""
    rank = dist.get_rank()
    seen: dict[str, Any] = {}
    terminated: list[int] = []
    hung: list[str] = []
    model = DistributedDataParallel(load(), find_unused_parameters=True)

    def raises() -> None:
        if rank == 1:
            raise ValueError("no luck")

    def interrupts() -> None:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    def hangs() -> None:
        time.sleep(6.0 if rank == 1 and not hung else 0.05)
        hung.append("once")

    def terminates() -> None:
        if not terminated:
            os.kill(os.getpid(), signal.SIGTERM)

    def broken_device() -> None:
        if rank == 1:
            raise torch.AcceleratorError("CUDA error: made up")

    for name, act in {"interrupt": interrupts, "broken": broken_device, "hang": hangs}.items():
        hook = on_forward(model, name, act)
        before = state(model)
        seen[name] = error_of(model, name, request_timeout=2.5 if name == "hang" else 60.0)
        after = state(model)
        hook.remove()
        seen[f"{name} threads"] = [t.name for t in threading.enumerate() if t.name.startswith("muster")]
        seen[f"{name} changed"] = [key for key in before if before[key] != after[key]]
        seen[f"{name} loss"] = train(model, 1)
    hook = on_forward(model, "raises", raises)  # a sample's failure, which is recorded
    results = evaluate(model, "raises", limit=8)
    hook.remove()
    seen["errored"] = results.errored
    if rank == 0:
        seen["absent"] = error_of(model, "absent", rendezvous_timeout=0.5)
    dist.barrier()
    if rank == 1:
        seen["absent"] = error_of(model, "absent", rendezvous_timeout=0.5)
    dist.barrier()
    seen["exists"] = error_of(model, "raises")
    seen["unknown"] = error_of(model, "unknown", sample_ids="nobody")
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: terminated.append(number))
    hook = on_forward(model, "again", terminates)
    seen["again"] = str(evaluate(model, "raises", overwrite=True).tasks)
    hook.remove()
    signal.signal(signal.SIGTERM, previous)
    seen["terminated"] = terminated
    return seen


def answers(name: str) -> dict[str, str | None]:
    """What was said to each sample, and by nobody but who leads a copy."""
    records = read_journal(FOLDER / name / "journal.jsonl")
    return {record.completion.key.sample_id: record.completion.text for record in records}


def divided(divide: Callable[[], Any]) -> dict[str, Any]:
    """A model whose ranks work in step: evaluated before its first step and between steps."""

    def between(step: int) -> None:
        if step == 0:
            failed: list[str] = []
            hook = fail_once(model, failed)
            seen["errored"] = evaluate(model, f"{divide.__name__}-between").errored
            seen["failed"] = failed
            hook.remove()
            seen["notes"] = [len(e) for module in sharded_modules(model) for e in notes_for_backward(module)]

    seen: dict[str, Any] = {}
    alone = divide()
    model = divide()
    before = modes(model)
    seen["results"] = str(evaluate(model, divide.__name__).tasks)
    seen["one sample"] = evaluate(model, f"{divide.__name__}-one", limit=1).errored
    if not (FOLDER / "whole" / "results.json").exists():
        evaluate(load(), "whole")
    seen["modes kept"] = before == modes(model)
    seen["same answers"] = answers(divide.__name__) == answers("whole")
    return {"without": train(alone, 2), "with": train(model, 2, between), **seen}


def fail_once(model: Any, failed: list[str]) -> Any:
    """An error in the middle of one forward pass, on all ranks alike; FSDP1 has no way back from one."""

    def act(*_args: object) -> None:
        if not failed:
            failed.append("once")
            raise ValueError("no luck")

    inner = getattr(model, "module", model)
    if inner is not model:
        failed.append("never")
    return inner.model.language_model.layers[1].register_forward_pre_hook(act)


def modes(model: Any) -> str:
    return str([(module.training, len(module._forward_hooks)) for module in model.modules()])


def fsdp2() -> Any:
    from torch.distributed.fsdp import fully_shard

    model = load()
    for layer in model.model.language_model.layers:
        fully_shard(layer)
    return fully_shard(model)


def fsdp1() -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    model = load()
    policy = ModuleWrapPolicy({type(model.model.language_model.layers[0])})
    return FullyShardedDataParallel(model, auto_wrap_policy=policy, device_id=torch.device("cpu"))


def hybrid() -> Any:
    """Two copies, each on half of the ranks."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = load()
    size = dist.get_world_size()
    mesh = init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("copies", "parts"))
    for layer in model.model.language_model.layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def tensor() -> Any:
    from transformers.distributed import DistributedConfig

    from muster.models.transformers.tensor.division import divide_tied_output

    divide_tied_output(demo_model_path(), trust_remote_code=False)
    return load(distributed_config=DistributedConfig(tp_size=dist.get_world_size()))


CASES: dict[str, Callable[[], dict[str, Any]]] = {"data_parallel": data_parallel, "failures": failures} | {
    each.__name__: functools.partial(divided, each) for each in (fsdp2, fsdp1, hybrid, tensor)
}


def main() -> None:
    dist.init_process_group("gloo")
    seen = {}
    for case in sys.argv[1].split(","):
        started = time.monotonic()
        seen[case] = CASES[case]()
        print(case, round(time.monotonic() - started, 1), "s", flush=True)
    (FOLDER / f"rank-{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
