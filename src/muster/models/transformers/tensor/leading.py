"""What the backend uses in place of its own parts when its model is spread over several processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from muster.models.protocol import ModelSettings
from muster.models.transformers.interfaces import Tokenizer
from muster.models.transformers.options import Options
from muster.models.transformers.preparation import Batch
from muster.models.transformers.tensor.members import Members

if TYPE_CHECKING:
    from muster.models.transformers.generation import Answer
    from muster.models.transformers.loading import Loaded
    from muster.models.transformers.memory import DeviceMemory


def start_members(settings: ModelSettings, options: Options) -> Members:
    """Start the other processes. Raises `ConfigurationError` when the model can't be divided among so many."""
    from muster.models.transformers.tensor.division import check_division

    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # transformers and the group go by what torch sees
    members = Members.start(settings.gpus_per_replica)  # they import meanwhile
    try:
        check_division(
            settings.model, options.revision, members.size, trust_remote_code=settings.trust_remote_code
        )
    except BaseException:
        members.close()
        raise
    return members


def load_parts(members: Members, folder: Path, options: Options, settings: ModelSettings) -> Loaded:
    """Have every member load its part of the model; returns the first one's. Raises what loading raises."""
    from muster.models.transformers.loading import load
    from muster.models.transformers.tensor.lockstep import member_environment

    with member_environment(0, members.size):
        try:
            members.form(settings, folder)
            loaded = load(
                folder, options, trust_remote_code=settings.trust_remote_code, tensor_parallel=members.size
            )
        except Exception as error:
            members.blame_the_lost(error)
            raise
    members.await_loaded()
    return loaded


class LeadingGenerator:
    """A `Generator` whose model is spread over the members."""

    def __init__(self, loaded: Loaded, tokenizer: Tokenizer, members: Members) -> None:
        from muster.models.transformers.generation import Generator
        from muster.models.transformers.tensor.lockstep import SharedChoice, broadcast

        self._generator = Generator(loaded, tokenizer, [SharedChoice(broadcast)])
        self._members = members

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order. Raises what all members have met alike, else `ReplicaError`."""
        from muster.models.transformers.tensor.lockstep import broadcast_tensors, order_for

        inputs = self._generator.place(batch.inputs)
        self._members.order(order_for(batch, inputs))
        try:
            answers = self._generator.generate(batch, broadcast_tensors(inputs))
        except Exception as error:
            self._members.agree(error)
            raise
        self._members.agree(None)
        return answers


class SharedMemory:
    """Implements `DeviceMemory` for all members: the first one's own, and what the others report."""

    def __init__(self, own: DeviceMemory, members: Members) -> None:
        self._own, self._members = own, members

    def begin(self) -> None:
        """The others do so when they get the order."""
        self._own.begin()

    def room_for_twice(self) -> bool:
        """Whether every member has room."""
        return self._own.room_for_twice() and self._members.room_for_twice

    def release(self) -> None:
        """The others do so when they fail."""
        self._own.release()
