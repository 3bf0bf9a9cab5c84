"""What somebody without the secret, or in the middle of the way, can do to a run: nothing, and not for long.

Real sockets against a real coordinator. Everything that listens on a network is found by port scanners within the day.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from muster.coordinator.join_names import new_machine_id
from muster.engines.join_client import ask_to_join
from muster.wire import messages, transport
from muster.wire.endpoint import Endpoint, parse_endpoint
from muster.wire.messages import Hello, JoinRequest, Offer
from muster.wire.transport import Connection, HandshakeError
from muster.worker.link import LostCoordinatorError, SocketLink
from muster.worker.stream import ClaimedRequests
from served import JOIN_SECRET, SECRET, SESSION, Served, answer_all, link_to, serving


def raw(port: int, patience: float = 10) -> socket.socket:
    """A connection that has got the coordinator's greeting."""
    connected = socket.create_connection(("127.0.0.1", port), timeout=patience)
    assert connected.recv(9, socket.MSG_WAITALL) == b"muster/2\n"
    return connected


def ended(connected: socket.socket) -> bool:
    """Whether the coordinator hangs up, within the socket's time-out."""
    try:
        while connected.recv(1 << 16):
            continue
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def assert_undisturbed(served: Served) -> None:
    link = link_to(lambda: served.port)
    ClaimedRequests(link).answers_from(answer_all)
    link.leave()
    assert served.coordinator.finished
    assert set(served.coordinator.workers) == {"worker-0"}


def test_a_guess_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    with serving(20) as served:
        for port in (served.port, served.join_port):
            with pytest.raises(HandshakeError, match="another run"):
                Connection.connect(("127.0.0.1", port), b"x" * 32, 5.0)
        with pytest.raises(HandshakeError, match="another run"):  # each entry has its own
            Connection.connect(("127.0.0.1", served.port), JOIN_SECRET, 5.0)
        assert_undisturbed(served)
    assert "wrong secret" in caplog.text


def test_a_recorded_handshake_opens_nothing() -> None:
    """Whoever listened in on a worker that was let in says the same again."""
    with serving(20) as served:
        recorded: list[bytes] = []
        with closing(socket.create_server(("127.0.0.1", 0))) as listener, pytest.raises(HandshakeError):

            def in_between() -> None:
                near, _address = listener.accept()
                with closing(near), closing(socket.create_connection(("127.0.0.1", served.join_port))) as far:
                    near.sendall(far.recv(41, socket.MSG_WAITALL))
                    recorded.append(near.recv(64, socket.MSG_WAITALL))

            threading.Thread(target=in_between, daemon=True).start()
            Connection.connect(listener.getsockname(), JOIN_SECRET, 5.0)
        with closing(raw(served.join_port)) as replay:
            replay.recv(32, socket.MSG_WAITALL)
            replay.sendall(recorded[0])
            assert replay.recv(32, socket.MSG_WAITALL) == bytes(32)
            assert ended(replay)
        assert_undisturbed(served)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n\r\n" + b"x" * 64, b"\x16\x03\x01" + b"\0" * 80, b"\xff" * 1_000_000],
    ids=len,
)
def test_garbage_is_hung_up_on(said: bytes) -> None:
    with serving(20) as served:
        with closing(raw(served.join_port)) as stranger:
            stranger.sendall(said)
            assert ended(stranger)
        assert_undisturbed(served)


def test_one_who_is_there_at_the_end_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """A scanner, or a rank's question, cost a traceback when the run ended at that moment."""
    with serving(1) as served:
        stranger = raw(served.join_port)
    stranger.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_who_says_nothing_or_too_slowly_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections and slow loris: each costs a file for as long as a handshake may take."""
    monkeypatch.setattr(transport, "HANDSHAKE_SECONDS", 0.6)
    with (
        serving(20) as served,
        closing(raw(served.join_port)) as silent,
        closing(raw(served.join_port)) as slow,
    ):
        for _ in range(8):
            try:
                slow.sendall(b"x")
            except OSError:
                break
            time.sleep(0.15)
        assert ended(silent)
        assert ended(slow)
        assert_undisturbed(served)


def test_one_who_has_the_secret_must_say_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muster.coordinator.server.HANDSHAKE_SECONDS", 0.3)
    with serving(20) as served:
        connection = Connection.connect(("127.0.0.1", served.join_port), JOIN_SECRET, 5.0)
        assert connection.receive() is None
        assert_undisturbed(served)


def test_crowds_of_strangers_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """They hang on to their connections; the oldest make room."""
    with serving(20) as served:
        monkeypatch.setattr(served.server._listener, "_most_unauthenticated", 16)
        with crowd(served.join_port, 60) as strangers:
            assert offered(served, 1)[1] == ["gpu7.0"]
            assert ended(strangers[0])
            assert not ended(strangers[-1])
            assert len(served.server._listener._unauthenticated) <= 16
            assert_undisturbed(served)


@contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    strangers = [raw(port, patience=2) for _ in range(count)]
    try:
        yield strangers
    finally:
        for stranger in strangers:
            stranger.close()


def test_an_oversize_frame_ends_its_connection_before_it_is_read() -> None:
    with serving(20) as served:
        connection = Connection.connect(("127.0.0.1", served.join_port), JOIN_SECRET, 5.0)
        connection._socket.sendall(struct.pack(">I", transport.MAX_FRAME + 1) + bytes(16) + b"x" * 1000)
        connection.limit_wait(10)
        assert connection.receive() is None
        assert_undisturbed(served)


@pytest.mark.parametrize("what", ["changed", "repeated", "made up", "left out"])
def test_frames_are_those_that_the_other_end_has_sent(what: str) -> None:
    """Somebody in the middle of the way, after the handshake, feeds results in."""
    with serving(20) as served:
        connection = Connection.connect(("127.0.0.1", served.join_port), JOIN_SECRET, 5.0)
        join_request = messages.encode(JoinRequest(new_machine_id(), "", "host", 1))
        frame = connection._outgoing.head(join_request) + join_request
        if what == "changed":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        elif what == "made up":
            frame = frame[:4] + hashlib.blake2b(join_request, digest_size=16).digest() + join_request
        elif what == "left out":
            frame = (
                connection._outgoing.head(join_request) + join_request
            )  # the second, with the first missing
        connection._socket.sendall(frame)
        connection.limit_wait(10)
        if what == "repeated":
            assert connection.receive() is not None
            again = Connection.connect(("127.0.0.1", served.join_port), JOIN_SECRET, 5.0)
            again._socket.sendall(frame)
            connection = again
        assert connection.receive() is None
        assert_undisturbed(served)


def offered(
    served: Served, replicas: int, name: str = "", host: str = "gpu7"
) -> tuple[JoinRequest, list[str]]:
    join_request = JoinRequest(new_machine_id(), name, host, replicas)
    answer = ask_to_join(Endpoint("127.0.0.1", served.join_port), JOIN_SECRET, join_request)
    assert isinstance(answer, Offer)
    again = ask_to_join(Endpoint("127.0.0.1", served.join_port), JOIN_SECRET, join_request)
    assert isinstance(again, Offer)
    assert again.places == answer.places
    return join_request, answer.places


def test_every_machine_gets_names_of_its_own() -> None:
    with serving(1) as served:
        assert offered(served, 2)[1] == ["gpu7.0", "gpu7.1"]
        assert offered(served, 1)[1] == ["gpu7-2.0"]
        assert offered(served, 1, host="gpu7.example.com")[1] == ["gpu7-3.0"]
        assert offered(served, 1, name="../../etc/x")[1] == ["etc-x@gpu7.0"]
        assert offered(served, 0)[1] == []


def test_who_joined_can_not_pass_for_another() -> None:
    """Neither for one of the run's own workers, nor for another machine's, nor for one of an earlier attempt."""
    with serving(20) as served:
        (one, _), (other, names) = offered(served, 1), offered(served, 1)
        for hello in (
            Hello("worker-0", 0, "gpu7", 1, SESSION, one.machine_id),
            Hello("worker-0", None, "gpu7", 1, SESSION, one.machine_id),
            Hello(names[0], None, "gpu7", 1, SESSION, one.machine_id),
            Hello(names[0], 0, "gpu7", 1, SESSION, other.machine_id),
            Hello(names[0], None, "gpu7", 1, "an earlier one", other.machine_id),
        ):
            with pytest.raises(LostCoordinatorError, match="refused this worker"):
                SocketLink(
                    lambda: Connection.connect(("127.0.0.1", served.join_port), JOIN_SECRET, 5.0),
                    hello,
                    lambda stop, lost: None,
                )
        inside = Connection.connect(("127.0.0.1", served.port), SECRET, 5.0)
        inside.send(
            messages.encode(JoinRequest(new_machine_id(), "", "h", 1))
        )  # nobody joins at the workers' entry
        assert inside.receive() is None
        assert_undisturbed(served)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.0.0.5:29400", ("10.0.0.5", 29400)),
        ("29400", ("127.0.0.1", 29400)),
        ("node7", ("node7", 0)),
        ("[::1]:29400", ("::1", 29400)),
        ("[::]", ("::", 0)),
    ],
)
def test_addresses(text: str, endpoint: tuple[str, int]) -> None:
    parsed = parse_endpoint(text, "127.0.0.1", 0)
    assert parsed == endpoint
    assert parse_endpoint(str(parsed)) == endpoint


@pytest.mark.parametrize(
    "text", ["", ":29400", "host:", "host:x", "host:70000", "::1:29400", "[::1", "[::1]29400"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_endpoint(text)
