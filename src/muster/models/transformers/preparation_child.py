"""The preparation process itself: `python -m muster.models.transformers.preparation_child FD`.

It holds the model's processor and one end of a socket, and ends when the other end does.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from muster.core import ConfigurationError, start_up
from muster.core.child_process import Parent
from muster.models.transformers.imports import import_transformers
from muster.models.transformers.interfaces import Processor
from muster.models.transformers.options import Options
from muster.models.transformers.preparation import Preparer
from muster.models.transformers.preparation_messages import (
    READY,
    Reply,
    Setup,
    Work,
    send_prepared,
)


def main() -> None:
    """Load the processor, then prepare what comes until the replica is gone."""
    start_up.begin()
    replica = Parent()
    setup = msgspec.msgpack.decode(replica.receive(), type=Setup)
    try:
        # A thread can't take back the priority that it gave up; this one keeps its own.
        with ThreadPoolExecutor(1, initializer=_give_way) as loader:
            processor = loader.submit(_load, setup).result()
    except ConfigurationError:
        os._exit(1)  # the replica meets the same error and tells the user
    start_up.done()
    replica.send(READY)
    preparers: dict[int | None, Preparer] = {}
    while True:
        work = msgspec.msgpack.decode(replica.receive(), type=Work)
        if work.context_limit not in preparers:
            preparers[work.context_limit] = Preparer(processor, work.context_limit, videos=setup.videos)
        _answer(replica, preparers[work.context_limit], work)


def _give_way() -> None:
    """Let the replica, which loads at the same time, go first where cores are scarce."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # there, of this thread alone


def _load(setup: Setup) -> Processor:
    import torch

    import_transformers()
    from muster.models.transformers.processor import load_processor
    from muster.models.transformers.quiet import quiet

    torch.set_num_threads(1)
    options = Options(
        processor=setup.processor,
        chat_template=setup.chat_template,
        template_settings=setup.template_settings,
    )
    with quiet():
        return load_processor(Path(setup.folder), options, trust_remote_code=setup.trust_remote_code)


def _answer(replica: Parent, preparer: Preparer, work: Work) -> None:
    try:
        prepared = preparer.prepare(work.requests)
        send_prepared(replica.connection, prepared, work.requests)
    except OSError:
        os._exit(0)  # the replica is gone
    except Exception as error:  # noqa: BLE001 - what can't travel is prepared by the replica itself
        replica.send(Reply(refused=repr(error).encode("ascii", "replace").decode()))


if __name__ == "__main__":
    main()
