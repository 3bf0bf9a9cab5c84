"""What whoever keeps a worker going learns of it, and what it must not be able to do to others' workers.

Real sockets. Guards against a rank that waits for a coordinator that is gone, and one that takes a network that is cut
for the end of the run.
"""

from __future__ import annotations

import os
import socket
from contextlib import closing

from muster.engines.status_query import NoStatus, query_status
from muster.wire.messages import StatusQuery, WorkerStatus
from processes import until
from served import JOIN_SECRET, SECRET, SESSION, link_to, loading_link_to, serving

HOST = "127.0.0.1"


def test_a_workers_standing() -> None:
    with serving(20) as served:
        place = [(HOST, served.port)]
        assert query_status(place, SECRET, StatusQuery("worker-0")) == WorkerStatus(SESSION)
        link = loading_link_to(lambda: served.port)  # one that is ready and speaks again isn't lost any more
        until(lambda: "worker-0" in served.coordinator.workers)
        known = query_status(place, SECRET, StatusQuery("worker-0"))
        assert known == WorkerStatus(SESSION, os.getpid(), 0, lost=False, failed=False)
        served.coordinator.lose("worker-0", "silent", 0.0)
        lost = query_status(place, SECRET, StatusQuery("worker-0"))
        assert isinstance(lost, WorkerStatus)
        assert lost.lost
        served.coordinator.drain()
        over = query_status(place, SECRET, StatusQuery("worker-0"))
        assert isinstance(over, NoStatus)
        assert over.state == "over"
        link.drain()


def test_who_joined_can_not_give_up_the_runs_own_workers() -> None:
    with serving(20) as served:
        link = link_to(lambda: served.port)
        answer = query_status([(HOST, served.join_port)], JOIN_SECRET, StatusQuery("worker-0", "no reason"))
        assert isinstance(answer, NoStatus)
        assert "another way" in answer.reason
        assert served.coordinator.workers["worker-0"].state != "failed"
        link.drain()


def test_gone_is_not_out_of_reach() -> None:
    """`gone` where the connection is refused, or another run's coordinator answers; else it may come back."""
    with closing(socket.create_server((HOST, 0))) as silent:
        nobody = silent.getsockname()[1]
        silent.close()
        gone = query_status([(HOST, nobody)], SECRET, StatusQuery("worker-0"))
        assert isinstance(gone, NoStatus)
        assert gone.state == "gone"
    with serving(1) as served:
        another = query_status([(HOST, served.port)], b"?" * 32, StatusQuery("worker-0"))
        assert isinstance(another, NoStatus)
        assert another.state == "gone"
        found = query_status([(HOST, nobody), (HOST, served.port)], SECRET, StatusQuery("worker-0"))
        assert isinstance(found, WorkerStatus)
    cut = query_status([("no.such.host.invalid", 1)], SECRET, StatusQuery("worker-0"))
    assert isinstance(cut, NoStatus)
    assert cut.state == "unreachable"
