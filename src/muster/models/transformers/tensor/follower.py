"""A member other than the first: `python -P -m muster.models.transformers.tensor.follower FD`.

It holds its part of the model and one end of a socket, does what the first member orders, and ends when the other end
of the socket does, whatever collective it may be waiting in.
"""

from __future__ import annotations

import faulthandler
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from muster.core import ConfigurationError, start_up
from muster.core.child_process import Parent
from muster.models.transformers.device_errors import classify
from muster.models.transformers.imports import import_transformers
from muster.models.transformers.options import parse_options
from muster.models.transformers.tensor.orders import Order, Report, Setup

if TYPE_CHECKING:
    import torch

    from muster.models.transformers.generation import Generator
    from muster.models.transformers.memory import DeviceMemory

log = logging.getLogger(__name__)


class Follower:
    """One part of the model, and what it takes to run a batch through it."""

    def __init__(self, generator: Generator, memory: DeviceMemory, device: torch.device) -> None:
        self._generator, self._memory, self._device = generator, memory, device

    @classmethod
    def load(cls, setup: Setup) -> Follower:
        """Join the members and load this one's part. Raises what loading raises."""
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.loading import load
        from muster.models.transformers.memory import watch_memory
        from muster.models.transformers.tensor.lockstep import (
            SharedChoice,
            broadcast,
            join_group,
            reach_store,
        )

        device = join_group(reach_store(setup.port, setup.timeout), setup.position, setup.size, setup.timeout)
        loaded = load(
            Path(setup.folder),
            parse_options(setup.args),
            trust_remote_code=setup.trust_remote_code,
            tensor_parallel=setup.size,
        )
        generator = Generator(loaded, loaded.processor.tokenizer, [SharedChoice(broadcast)])
        return cls(generator, watch_memory([device]), device)

    def obey(self, order: Order) -> Report:
        """Run a batch as the first member does, and report how it went."""
        from muster.models.transformers.tensor.lockstep import collectives_begun

        self._memory.begin()
        failed = self._run(order)
        if failed is None:
            return Report(collectives=collectives_begun(), room_for_twice=self._memory.room_for_twice())
        self._memory.release()
        return failed

    def _run(self, order: Order) -> Report | None:
        from muster.models.transformers.tensor.lockstep import (
            broadcast_tensors,
            collectives_begun,
            empty_tensors,
            ordered_batch,
        )

        try:
            inputs = broadcast_tensors(empty_tensors(order.tensors, self._device))
            self._generator.generate(ordered_batch(order, inputs), inputs)
        except Exception as error:  # noqa: BLE001 - the first member decides what it means
            return Report(
                classify(error), f"{type(error).__name__}: {error}", collectives=collectives_begun()
            )
        return None


def main() -> None:
    """Load, then do what comes until the first member is gone."""
    faulthandler.enable()
    start_up.begin()
    first = Parent()
    import torch  # noqa: F401 - at the same time as the first member

    import_transformers()
    setup = msgspec.msgpack.decode(first.receive(), type=Setup)
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s %(name)s: [member {setup.position} of {setup.size}] %(message)s",
    )
    try:
        follower = Follower.load(setup)
    except Exception as error:
        log.exception("this part of the model could not be loaded")
        configuration = isinstance(error, ConfigurationError)
        first.send(Report(classify(error), str(error), configuration))
        first.receive()  # until the first member has read it and gone
    else:
        start_up.done()
        first.send(Report())
    while True:
        first.send(follower.obey(msgspec.msgpack.decode(first.receive(), type=Order)))


if __name__ == "__main__":
    main()
