"""The judge's process: `python -m muster.judging.child FD`. It ends when the other end of its socket does."""

from __future__ import annotations

import collections
import logging
import os
import sys
import threading

from muster.core import ConfigurationError, MusterError, Request
from muster.core.child_process import Parent
from muster.core.encoded import Encoded
from muster.core.foreign_code import ForeignCode
from muster.judging.messages import (
    Ask,
    Broken,
    Finish,
    FromJudge,
    Ready,
    Said,
    Setup,
    decode_to_judge,
)
from muster.models.registry import load_backend, model_kind
from muster.worker.stream import ClaimedRequests, Pulled
from muster.worker.worker import load_model

log = logging.getLogger("muster")


class QuestionLink:
    """Implements `Link` over the socket. Questions may come at any time, until `Finish`."""

    def __init__(self, run: Parent) -> None:
        self.waits = False
        """Whether a pull waits for more while answers are owed: for backends that pull in a thread of their own."""
        self._run = run
        self._changed = threading.Condition()
        self._waiting: collections.deque[tuple[int, Request]] = collections.deque()
        self._over = False

    def listen(self) -> None:
        """Take in what comes."""
        while True:
            message = decode_to_judge(self._run.receive())
            with self._changed:
                if isinstance(message, Ask) and not self._over:
                    self._waiting.append((message.index, message.request))
                elif isinstance(message, Finish):
                    self._over = True
                    self._waiting.clear()
                self._changed.notify_all()

    def pull(self, limit: int, *, idle: bool, park: bool) -> Pulled:  # noqa: ARG002  nobody else could take it
        """See `Link`."""
        with self._changed:
            while not self._waiting:
                if self._over:
                    return Pulled([], "finished")
                if not park and not self.waits:
                    return Pulled([], "empty")
                self._changed.wait()
            count = min(limit, len(self._waiting))
            return Pulled([self._waiting.popleft() for _ in range(count)], "work")

    def deliver(self, index: int, answer: Encoded) -> None:
        """See `Link`."""
        self.send(Said(index, answer.completion))

    def send(self, message: FromJudge) -> None:
        """Send from any thread."""
        self._run.send(message)


def main() -> None:
    """Load the model, then answer what comes."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    run = Parent()
    setup = decode_to_judge(run.receive())
    assert isinstance(setup, Setup)
    link = QuestionLink(run)
    threading.Thread(target=link.listen, name="muster-questions", daemon=True).start()
    status = 1
    try:
        link.waits = model_kind(load_backend(setup.backend)) == "served"
        with ForeignCode():
            model = load_model(setup.backend, setup.settings)
            link.send(Ready())
            ClaimedRequests(link).answers_from(model.generate)
        status = 0
    except MusterError as error:
        link.send(Broken(str(error), configuration=isinstance(error, ConfigurationError)))
    except Exception:
        log.exception("the judge failed")
    finally:
        sys.stderr.flush()
        os._exit(status)  # whatever threads a backend has left


if __name__ == "__main__":
    main()
