"""The ranks of one divided copy working as one replica: the first claims and decides, the others do the same batches.

They speak over a Gloo group of their own, which is in none of torch's tables: it needs no GPU memory, what it is in
the middle of can be given up, and dropping it ends it. The model's own collectives go over the job's groups, as in
training.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import torch
import torch.distributed as dist

from muster.core import LostMemberError, ReplicaError
from muster.models.transformers.device_errors import classify
from muster.models.transformers.generation import Answer, Generator
from muster.models.transformers.preparation import Batch
from muster.models.transformers.tensor.lockstep import empty_tensors, order_for, ordered_batch
from muster.models.transformers.tensor.orders import Order

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store, Work

_SLICE = timedelta(seconds=1)
"""What a wait is cut into, so that signals and the end of the run are noticed."""
_ERRORS = ("", "out of memory", "broken device", "other")
_FAIL_SECONDS = 20.0
"""How long ranks may need to fail after one of them has."""
_CPU = torch.device("cpu")


class InStep:
    """The group of the ranks that hold one copy."""

    def __init__(
        self,
        store: Store,
        position: int,
        size: int,
        *,
        on_one_machine: bool,
        timeout: float,
        over: Callable[[], bool],
    ) -> None:
        """Meet the others. `timeout`: seconds that one may keep the others waiting; `over`: nobody waits any more.

        Raises:
            LostMemberError: they didn't all come.
        """
        self.position, self.size = position, size
        self._timeout, self._over = timeout, over
        self._stuck: Work | None = None
        try:
            self._group = _gloo(store, position, size, on_one_machine=on_one_machine, timeout=timeout)
        except RuntimeError as error:
            raise LostMemberError(f"the ranks of one copy of the model can't meet: {error}") from error

    def share(self, tensor: torch.Tensor) -> None:
        """The first rank's contents of a contiguous tensor, on all."""
        if not tensor.numel():
            return
        here = tensor.cpu()  # the tensor itself, where it is there already
        # As bytes: Gloo doesn't know every type.
        self._finish(self._group.broadcast(here.reshape(-1).view(torch.uint8), 0), self._timeout)
        if here is not tensor:
            tensor.copy_(here)

    def order(self, order: Order | None) -> None:
        """The first rank: tell the others of a batch, or that there are no more."""
        header = torch.frombuffer(bytearray(msgspec.msgpack.encode(order)), dtype=torch.uint8)
        self.share(torch.tensor([header.numel()]))
        self.share(header)

    def next_order(self) -> Order | None:
        """The others: what the first has ordered, however long it has nothing to do."""
        length = torch.zeros(1, dtype=torch.int64)
        self._finish(self._group.broadcast(length.view(torch.uint8), 0), math.inf)
        header = torch.empty(int(length), dtype=torch.uint8)
        self.share(header)
        return msgspec.msgpack.decode(header.numpy().tobytes(), type=Order | None)

    def agree(self, error: Exception | None) -> None:
        """Make sure that a batch went the same way on all. Raises `ReplicaError` when it didn't."""
        seconds = self._timeout if error is None else min(_FAIL_SECONDS, self._timeout)
        own = torch.tensor([_ERRORS.index("" if error is None else classify(error))])
        all_of_them = [torch.zeros_like(own) for _rank in range(self.size)]
        try:
            self._finish(self._group.allgather(all_of_them, own), seconds)
        except LostMemberError as lost:
            if error is None:
                raise
            raise ReplicaError(
                f"{type(error).__name__}: {error}; the other ranks of this copy of the model have not met it, and wait "
                "for this one in a collective of the job's own"
            ) from lost
        said = [int(each) for each in all_of_them]
        if len(set(said)) > 1:
            told = ", ".join(_ERRORS[each] or "fine" for each in said)
            raise ReplicaError(
                f"the ranks of one copy fared differently with a batch ({told}); here: {error}"
            ) from error

    def close(self) -> None:
        """Let go of the others; those that wait for this rank hear that it is gone."""
        groups = [self._group, self._stuck]
        self._group = self._stuck = None
        if groups[1] is None:
            groups.clear()
        else:  # a group ends when what it has begun has ended, for which it may wait for a rank that hangs
            threading.Thread(target=groups.clear, name="live-group-end", daemon=True).start()

    def _finish(self, work: Work, seconds: float) -> None:
        limit = time.monotonic() + seconds
        self._stuck = work
        while True:
            try:
                work.wait(_SLICE)
            except RuntimeError as error:
                if work.is_completed():
                    self._stuck = None
                    raise LostMemberError(f"a rank of this copy of the model is gone: {error}") from error
                if self._over():
                    raise LostMemberError("the evaluation has ended") from error
                if time.monotonic() > limit:
                    raise LostMemberError(
                        f"a rank of this copy of the model has kept the others waiting for {seconds:g} s"
                    ) from error
            else:
                self._stuck = None
                return


def _gloo(store: Store, position: int, size: int, *, on_one_machine: bool, timeout: float) -> Any:
    """Untyped: torch's stubs lack what the groups of all backends can do."""
    gloo: Any = dist.ProcessGroupGloo
    longest = timedelta(days=7)  # waits are limited here, where a signal can end them
    if not on_one_machine:  # honours GLOO_SOCKET_IFNAME
        return gloo(store, position, size, longest)
    options = gloo._Options()
    options._timeout = timedelta(seconds=timeout)
    options._devices = [gloo.create_device(hostname="127.0.0.1")]
    group = gloo(store, position, size, options)
    group.set_timeout(longest)
    return group


class Leading:
    """Answers batches as a `Generator` does, with the other ranks of its copy."""

    def __init__(self, generator: Generator, group: InStep) -> None:
        self._generator, self._group = generator, group

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises what all ranks have met alike, else `ReplicaError`."""
        inputs = {name: value.contiguous() for name, value in batch.inputs.items()}
        self._group.order(order_for(batch, inputs))
        return _together(self._generator, self._group, batch, inputs)


def follow(generator: Generator, group: InStep) -> None:
    """Do what the first rank orders until it orders no more. Raises `ReplicaError` when the ranks fall out of step."""
    while (order := group.next_order()) is not None:
        inputs = empty_tensors(order.tensors, _CPU)
        try:
            _together(generator, group, ordered_batch(order, inputs), inputs)
        except ReplicaError:
            raise
        except Exception:  # noqa: BLE001, S112  the first rank has met the same, and decides what it means
            continue


def _together(
    generator: Generator, group: InStep, batch: Batch, inputs: Mapping[str, torch.Tensor]
) -> list[Answer]:
    for value in inputs.values():
        group.share(value)
    try:
        answers = generator.generate(batch, generator.place(inputs))
    except ReplicaError:
        raise
    except Exception as error:
        group.agree(error)
        raise
    group.agree(None)
    return answers
