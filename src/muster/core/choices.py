"""The words that options and messages choose from, each list in one place."""

from __future__ import annotations

from typing import Literal, TypeAlias

Parallelism: TypeAlias = Literal["device-map", "tensor"]
"""How the GPUs of one replica share a model: whole layers on each, or a part of every layer on each."""

Schedule: TypeAlias = Literal["dynamic", "contiguous", "strided"]
"""Who answers what: whoever is free takes the longest request that waits, or everybody has a share from the start."""

CollectMode: TypeAlias = Literal["stream", "gather"]
"""How answers get to the coordinator: each as it is given, or all at the end over a process group."""

ProcessGroup: TypeAlias = Literal["auto", "nccl", "gloo"]
"""The process group of `gather`."""

RequestedBatch: TypeAlias = int | Literal["auto"]
"""Requests in a static batch; `auto`: as many as fit into memory."""
