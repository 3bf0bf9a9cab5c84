"""A real all_reduce: over NCCL where there are GPUs, over Gloo where not. Never hangs, never ends the process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from muster.doctor.observation import Backend, Collective
from muster.doctor.within import within
from muster.machine.gpus import bind

if TYPE_CHECKING:
    from torch import Tensor
    from torch._C._distributed_c10d import Store

_GRACE = 5.0
"""Torch's own time-out says more than ours, so it gets to speak first; seconds."""
_ELEMENTS = 1 << 20
_LONGEST = 1500
"""Characters of an error message that are kept."""


def all_reduce_together(
    store: Store, position: int, size: int, backend: Backend, gpus: Sequence[str], timeout: float
) -> Collective:
    """An all_reduce among `size` processes that share a store; each of them calls this. Limit: `timeout` + 5 s."""

    def reduce(steps: list[str]) -> None:
        _reduce_in_group(store, position, size, backend, timeout, steps)

    return _observed(backend, gpus, timeout + _GRACE, reduce)


def all_reduce_alone(gpus: Sequence[str], timeout: float) -> Collective:
    """An all_reduce among this process's GPUs, or over Gloo with itself. Limit: `timeout` + 5 s."""

    def reduce(steps: list[str]) -> None:
        if gpus:
            _reduce_over_own_gpus(len(gpus), steps)
            return
        from torch._C._distributed_c10d import HashStore

        _reduce_in_group(HashStore(), 0, 1, "gloo", timeout, steps)

    return _observed("nccl" if gpus else "gloo", gpus, timeout + _GRACE, reduce)


def _observed(
    backend: Backend, gpus: Sequence[str], limit: float, reduce: Callable[[list[str]], None]
) -> Collective:
    steps = ["importing torch"]
    started = time.monotonic()
    problem = ""
    with tempfile.TemporaryDirectory(prefix="muster-doctor-", ignore_cleanup_errors=True) as folder:
        if backend == "nccl":
            _let_nccl_fail_softly(Path(folder))
            bind(gpus)
        try:
            within(limit, "the all_reduce", partial(_tried, reduce, steps))
        except ImportError as error:
            problem = f"torch cannot be imported: {error}"
        except Exception as error:  # noqa: BLE001  whatever is wrong with this machine is what we look for
            problem = f"{type(error).__name__}: {error}"[:_LONGEST] + _nccl_words(Path(folder))
    took = time.monotonic() - started
    return Collective(backend, not problem, round(took, 3), steps[-1], problem, _torch_versions())


def _tried(reduce: Callable[[list[str]], None], steps: list[str]) -> bool:
    reduce(steps)
    return True


def _let_nccl_fail_softly(folder: Path) -> None:
    """NCCL's watchdog would end the process, and its warnings go to standard output; both can only be set early."""
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    for name in ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_ENABLE_MONITORING"):
        os.environ[name] = "0"
    os.environ.setdefault("NCCL_DEBUG", "WARN")
    os.environ.setdefault("NCCL_DEBUG_FILE", str(folder / "nccl.%h.%p"))


def _nccl_words(folder: Path) -> str:
    lines = [line for file in folder.glob("nccl.*") for line in file.read_text(errors="replace").splitlines()]
    return "".join(f"\n{line}" for line in lines if "WARN" in line)[-_LONGEST:]


def _reduce_in_group(
    store: Store, position: int, size: int, backend: Backend, timeout: float, steps: list[str]
) -> None:
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore

    device = torch.device("cpu")
    if backend == "nccl":
        steps.append("initialising CUDA")
        device = torch.device("cuda", 0)
        torch.cuda.set_device(device)
        for index in range(torch.cuda.device_count()):
            torch.ones(1, device=f"cuda:{index}").item()
    steps.append(f"forming the {backend} group")
    dist.init_process_group(
        backend,
        store=PrefixStore("doctor/group", store),
        rank=position,
        world_size=size,
        timeout=timedelta(seconds=timeout),
    )
    steps.append("all_reduce")
    tensor = torch.full((_ELEMENTS,), float(position + 1), device=device)
    dist.all_reduce(tensor)
    _check_sum(tensor, size * (size + 1) // 2)
    steps.append("leaving the group")
    dist.destroy_process_group()  # after a failure this may hang; the process is about to end anyway
    steps.append("done")


def _reduce_over_own_gpus(count: int, steps: list[str]) -> None:
    import torch
    from torch.cuda import nccl

    steps.append("initialising CUDA")
    tensors = [torch.full((_ELEMENTS,), index + 1.0, device=f"cuda:{index}") for index in range(count)]
    steps.append("all_reduce")
    nccl.all_reduce(tensors)  # type: ignore[no-untyped-call]
    for index, tensor in enumerate(tensors):
        torch.cuda.synchronize(index)
        _check_sum(tensor, count * (count + 1) // 2)
    steps.append("done")


def _check_sum(tensor: Tensor, expected: int) -> None:
    low, high = float(tensor.min().item()), float(tensor.max().item())
    if low != expected or high != expected:
        raise RuntimeError(f"the all_reduce gave a wrong sum: {low} to {high} instead of {expected}")


def _torch_versions() -> dict[str, str]:
    """CUDA and NCCL that torch was built with, where torch could be imported at all."""
    try:
        import torch
    except ImportError:
        return {}
    versions = {"cuda": str(torch.version.cuda)} if torch.version.cuda else {}
    if torch.version.cuda and torch.distributed.is_nccl_available():
        from torch.cuda import nccl

        versions["nccl"] = ".".join(str(part) for part in nccl.version())  # type: ignore[no-untyped-call]
    return versions
