"""What keeps the members of a replica in step: one group, one choice of every token, one count of collectives."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore
from torch.distributed import distributed_c10d

from muster.core import ConfigurationError, ReplicaError, Request
from muster.models.transformers.preparation import Batch, Row
from muster.models.transformers.tensor.orders import Order, TensorShape

LOOPBACK = "127.0.0.1"


def host_store(timeout: float) -> tuple[TCPStore, int]:
    """A store for the members of one replica, and its port. It listens on the loopback alone."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        store = TCPStore(
            LOOPBACK,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=timeout),
            master_listen_fd=listener.detach(),
        )
    return store, port


def reach_store(port: int, timeout: float) -> TCPStore:
    """The store that the first member hosts."""
    return TCPStore(LOOPBACK, port, is_master=False, timeout=timedelta(seconds=timeout))


@contextmanager
def member_environment(position: int, size: int) -> Iterator[None]:
    """The rank variables as the members' own world has them, whatever the launcher's world says.

    transformers picks the device by `LOCAL_RANK`. All members see all the devices of their replica, as NCCL's direct
    copies between GPUs want it.
    """
    ours = {
        "RANK": str(position),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(position),
        "LOCAL_WORLD_SIZE": str(size),
    }
    if "lo" in (name for _index, name in socket.if_nameindex()):
        ours["GLOO_SOCKET_IFNAME"] = "lo"  # all members are on this machine
    kept = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def join_group(store: TCPStore, position: int, size: int, timeout: float) -> torch.device:
    """Make the members this process's default group, which transformers shards over; returns this member's device.

    Over NCCL where there are GPUs, else over Gloo. `timeout` (seconds) is for every collective.

    Raises:
        ConfigurationError: fewer GPUs are visible than there are members.
        ReplicaError: this process has a process group already.
    """
    if dist.is_initialized():
        raise ReplicaError("a tensor parallel replica needs a process without a process group of its own")
    if not torch.cuda.is_available():
        device, backend = torch.device("cpu"), "gloo"
    elif torch.cuda.device_count() < size:
        raise ConfigurationError(
            f"--gpus-per-replica {size} --parallelism tensor, but this replica sees only "
            f"{torch.cuda.device_count()} GPU(s)"
        )
    else:
        device, backend = torch.device("cuda", position), "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, store=store, rank=position, world_size=size, timeout=timedelta(seconds=timeout)
    )
    return device


def leave_group() -> None:
    """Give the default group up, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def collectives_begun() -> int:
    """How many collectives this process has begun, in all of its groups."""
    groups: Iterable[Any] = distributed_c10d._world.pg_map
    return sum(group._get_sequence_number_for_group() for group in groups)


def order_for(batch: Batch, inputs: Mapping[str, torch.Tensor]) -> Order:
    """What the others must know of a batch to do the same, whose `inputs` they will receive."""
    rows = [(row.request.key, row.request.generation) for row in batch.rows]
    tensors = [
        TensorShape(name, str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for name, value in inputs.items()
    ]
    return Order(rows, batch.prompt_tokens, tensors)


def ordered_batch(order: Order, inputs: dict[str, torch.Tensor]) -> Batch:
    """The batch that was ordered, with its inputs."""
    rows = tuple(Row(Request(key, (), generation)) for key, generation in order.rows)
    return Batch(rows, inputs, order.prompt_tokens)


def empty_tensors(described: Sequence[TensorShape], device: torch.device) -> dict[str, torch.Tensor]:
    """Room for tensors that will be broadcast."""
    return {
        tensor.name: torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype), device=device)
        for tensor in described
    }


def broadcast(tensor: torch.Tensor) -> None:
    """The first member's contents of a contiguous tensor, on every member. As bytes: no backend knows every type."""
    if tensor.numel():
        dist.broadcast(tensor.reshape(-1).view(torch.uint8), src=0)


def broadcast_tensors(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same for all these tensors."""
    shared = {name: value.contiguous() for name, value in inputs.items()}
    for value in shared.values():
        broadcast(value)
    return shared


class SharedChoice:
    """A logits processor that leaves only the token which the first member has chosen.

    All members compute the same logits up to rounding. Were each to choose for itself, a tie could part them, and they
    would then wait for each other in different collectives.
    """

    def __init__(self, share: Callable[[torch.Tensor], object]) -> None:
        """`share` gives a tensor the first member's contents, on all."""
        self._share = share

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) in which one token per row is finite, the same on all members."""
        token = scores.argmax(dim=-1, keepdim=True)
        self._share(token)
        return torch.full_like(scores, float("-inf")).scatter_(-1, token, 0.0)
