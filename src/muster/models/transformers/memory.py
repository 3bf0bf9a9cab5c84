"""How full the devices are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

SAFE_FRACTION = 0.9


class DeviceMemory(Protocol):
    """Watches memory around a batch."""

    def begin(self) -> None:
        """A batch is about to run."""
        ...

    def room_for_twice(self) -> bool:
        """Whether a batch of twice the size since `begin` would have fit with some reserve."""
        ...

    def release(self) -> None:
        """Give cached blocks back after running out, so that fragments don't spoil the next attempt."""
        ...


class UnmeasuredMemory:
    """Memory that nobody measures (a CPU's): never says that there is room for more."""

    def begin(self) -> None:
        """Nothing to note."""

    def room_for_twice(self) -> bool:
        """Never."""
        return False

    def release(self) -> None:
        """Nothing is cached."""


class CudaMemory:
    """Peak memory of the GPUs that a model is on, from torch's allocator."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._before: list[int] = []

    def begin(self) -> None:
        """Note what is allocated before the batch: weights, mostly."""
        self._before = [torch.cuda.memory_allocated(device) for device in self._devices]
        for device in self._devices:
            torch.cuda.reset_peak_memory_stats(device)

    def room_for_twice(self) -> bool:
        """Whether base + twice the batch's own peak stays under `SAFE_FRACTION` on every device."""
        return all(map(self._fits, self._devices, self._before))

    def release(self) -> None:
        """Empty torch's cache, on all devices."""
        torch.cuda.empty_cache()

    @staticmethod
    def _fits(device: torch.device, base: int) -> bool:
        free, _ = torch.cuda.mem_get_info(device)
        # What others hold on this device is not ours to plan with.
        ours = free + torch.cuda.memory_reserved(device)
        peak = torch.cuda.max_memory_allocated(device)
        return base + 2 * (peak - base) < SAFE_FRACTION * ours


def watch_memory(devices: Sequence[torch.device]) -> DeviceMemory:
    """The right watcher for the devices that a model is on."""
    gpus = [device for device in devices if device.type == "cuda"]
    return CudaMemory(gpus) if gpus else UnmeasuredMemory()
