"""One final gather of all answers over a process group: `--collect gather`, as other tools do it.

Answers are usually streamed to the coordinator as they come, which needs no process group and loses nothing when a
rank dies. This is there to be compared with that: claims and progress take the same connection in both.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from muster.core.choices import ProcessGroup
from muster.machine import rendezvous
from muster.machine.ranks import Ranks

Answered = list[tuple[int, bytes]]
"""Completions by request index, each as JSON."""

CHUNK_BYTES = 16 << 20
"""What each rank sends at a time: the receiver holds as many of these as there are ranks."""


def gather_answers(
    answers: Answered,
    ranks: Ranks,
    secret: str,
    *,
    position: int,
    size: int,
    backend: ProcessGroup,
    timeout: float,
) -> list[Answered]:
    """Bring the answers of `size` workers to the one at position 0, which gets them all; the others get nothing.

    `secret` is the run's; it keeps this group apart from earlier attempts'. `position` is this worker's among those
    that take part; `timeout` (seconds) is for the group to form and for each exchange.

    Raises:
        RuntimeError: a worker died or did not come (torch.distributed's own error).
    """
    payload = msgspec.msgpack.encode(answers)
    gathered = _gather_bytes(payload, ranks, secret, position, size, backend, timeout)
    return [msgspec.msgpack.decode(each, type=Answered) for each in gathered]


def _gather_bytes(
    payload: bytes, ranks: Ranks, secret: str, position: int, size: int, backend: ProcessGroup, timeout: float
) -> list[bytes]:
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore

    store = PrefixStore("muster/gather", rendezvous.group_store(ranks, timeout, secret))
    if backend == "auto":
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    device = torch.device("cuda" if backend == "nccl" else "cpu")
    dist.init_process_group(
        backend, store=store, rank=position, world_size=size, timeout=timedelta(seconds=timeout)
    )
    try:
        lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(size)]
        dist.all_gather(lengths, torch.tensor([len(payload)], dtype=torch.int64, device=device))
        sizes = [int(length.item()) for length in lengths]
        received = [bytearray() for _ in range(size)]
        for start in range(0, max(sizes), CHUNK_BYTES):
            step = min(CHUNK_BYTES, max(sizes) - start)
            mine = torch.zeros(step, dtype=torch.uint8)
            part = payload[start : start + step]
            mine[: len(part)] = torch.frombuffer(bytearray(part or b"\0"), dtype=torch.uint8)[: len(part)]
            chunks = [torch.zeros(step, dtype=torch.uint8, device=device) for _ in range(size)]
            dist.gather(mine.to(device), chunks if position == 0 else None, dst=0)
            if position == 0:
                for sender, chunk in enumerate(chunks):
                    received[sender] += chunk.cpu().numpy().tobytes()
        if position != 0:
            return []
        return [bytes(buffer[:length]) for buffer, length in zip(received, sizes, strict=True)]
    finally:
        dist.destroy_process_group()
