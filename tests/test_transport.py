"""The way between worker and coordinator: strangers, garbage, cut connections, lost acknowledgements."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import Completion, Failure, Generation, Media, Message, Part, Request, RequestKey, Sample
from muster.core.encoded import Encoded
from muster.models.protocol import RequestStream
from muster.wire import messages, transport
from muster.wire.messages import Hello, Ready, Stop
from muster.wire.transport import Connection, HandshakeError
from muster.worker.link import LostCoordinatorError, SocketLink
from muster.worker.stream import ClaimedRequests
from processes import DEADLINE
from served import SECRET, Proxy, answer_all, link_to, serving
from toy_task import ToyPrompt


def test_everything_is_answered_once() -> None:
    with serving(500) as served:
        link = link_to(lambda: served.port)
        ClaimedRequests(link).answers_from(answer_all)
        link.leave()
        assert served.coordinator.finished
        assert len({record.completion.key for record in served.records}) == len(served.records) == 500


def test_the_event_loop_receives_into_little_room() -> None:
    """Its default is mapped and unmapped time and again, which was a quarter of what a claim cost."""

    async def size_of_a_receive() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await transport.accept(reader, writer, SECRET)
            found.set_result(writer.transport.max_size)  # type: ignore[attr-defined]
            writer.close()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            connection = await asyncio.to_thread(Connection.connect, address, SECRET, DEADLINE)
            size = await found
            connection.close()
            return size

    assert asyncio.run(size_of_a_receive()) == transport._READ


def test_connections_that_break_cost_nothing() -> None:
    """Cut again and again while requests and answers are on the way."""
    with serving(3000) as served:
        proxy = Proxy(served.port)
        link = link_to(lambda: proxy.port)

        def slowly(requests: RequestStream) -> Iterator[Completion]:
            for number, request in enumerate(requests):
                if number % 97 == 50:
                    proxy.cut()
                yield Completion(request.key, "text")

        ClaimedRequests(link).answers_from(slowly)
        link.leave()
        proxy.close()
        assert served.coordinator.finished
        assert len({record.completion.key for record in served.records}) == len(served.records) == 3000


def test_a_backend_that_pulls_on_after_a_cut_answers_everything_once() -> None:
    """The coordinator gives back what the worker is still working on; it must not be done, or answered, twice."""
    with serving(60) as served:
        proxy = Proxy(served.port)
        link = link_to(lambda: proxy.port)
        pulled: list[RequestKey] = []

        def ahead(requests: RequestStream) -> Iterator[Completion]:
            held: list[RequestKey] = []
            for request in requests:
                held.append(request.key)
                pulled.append(request.key)
                if len(held) == 4:
                    proxy.cut()
                if len(held) == 8:
                    yield from (Completion(key, "text") for key in held)
                    held.clear()
            yield from (Completion(key, "text") for key in held)

        ClaimedRequests(link).answers_from(ahead)
        link.leave()
        proxy.close()
        assert served.coordinator.finished
        assert len({record.completion.key for record in served.records}) == len(served.records) == 60
        assert len(pulled) == len(set(pulled)) == 60


def test_a_coordinator_that_is_gone_ends_the_worker() -> None:
    with serving(10, reconnect=0.5) as served:
        link = link_to(lambda: served.port)
        stream = ClaimedRequests(link)
        next(stream)
    limit = time.monotonic() + DEADLINE
    with pytest.raises(LostCoordinatorError, match="has been gone"):
        while time.monotonic() < limit:
            link.pull(1, idle=True, park=True)


def test_a_wrong_secret_is_refused_by_both_sides() -> None:
    with serving(1) as served:
        with pytest.raises(HandshakeError, match="another run"):
            Connection.connect(("127.0.0.1", served.port), b"x" * 32, 2.0)
        assert served.coordinator.workers == {}


def test_what_is_not_a_coordinator_is_recognised() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def play_http() -> None:
        accepted, _ = listener.accept()
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\n\r\nBad Request")
        accepted.close()

    threading.Thread(target=play_http, daemon=True).start()
    with pytest.raises(HandshakeError, match="not a Muster coordinator"):
        Connection.connect(listener.getsockname(), SECRET, 2.0)
    listener.close()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"\xff" * 100,
        b"\x00\x00\x00\x0b" + bytes(16) + b"not sealed.",
        b"\xff\xff\xff\xff" + bytes(99),
    ],
)
def test_garbage_ends_its_own_connection_only(garbage: bytes) -> None:
    with serving(50) as served:
        connection = Connection.connect(("127.0.0.1", served.port), SECRET, 2.0)
        connection._socket.sendall(garbage)
        connection._socket.shutdown(socket.SHUT_WR)
        assert connection.receive() is None
        link = link_to(lambda: served.port)
        ClaimedRequests(link).answers_from(answer_all)
        link.leave()
        assert served.coordinator.finished


def test_messages_that_make_no_sense_end_their_own_connection_only() -> None:
    """Authenticated, well-formed, and wrong: an index that doesn't exist, a pull before anything is ready."""
    answer = (10_000, Encoded.of(Completion(RequestKey("toy", "x"), "t")).json)
    for message in (
        messages.Answers(1, [answer]),
        messages.Answers(1, [(0, b"x")]),
        messages.Pull(1, 5, True),
        messages.Pull(1, 0, True),
    ):
        with serving(20) as served:
            connection = Connection.connect(("127.0.0.1", served.port), SECRET, 2.0)
            connection.send(messages.encode(Hello("stray", 0, "h", 1)))
            connection.receive()
            connection.send(messages.encode(message))
            while connection.receive() is not None:
                continue
            link = link_to(lambda: served.port)
            ClaimedRequests(link).answers_from(answer_all)
            link.leave()
            assert served.coordinator.finished


def test_drain_ends_a_waiting_worker() -> None:
    with serving(1) as served:
        first, second = link_to(lambda: served.port), None
        stream = ClaimedRequests(first)
        next(stream)
        second = SocketLink(
            lambda: Connection.connect(("127.0.0.1", served.port), SECRET, 2.0),
            Hello("worker-1", 1, "host", 1),
            lambda stop, lost: None,
        )
        second.ready(Ready(1, False, 0.0), lambda: 0.0)
        threading.Timer(0.3, second.drain).start()
        assert second.pull(1, idle=True, park=True).requests == []


texts = st.text(max_size=20)
media = st.builds(Media, kind=st.just("image"), data=st.binary(max_size=30)) | st.builds(
    Media, kind=st.just("video"), path=texts
)
parts = st.builds(Part, text=texts) | st.builds(Part, media=media)
keys = st.builds(RequestKey, texts, texts, st.integers(0, 9))
requests = st.builds(
    Request,
    key=keys,
    messages=st.lists(
        st.builds(
            Message, role=st.sampled_from(["system", "user", "assistant"]), parts=st.lists(parts).map(tuple)
        )
    ).map(tuple),
    generation=st.builds(Generation, stop=st.lists(texts).map(tuple)),
)
completions = st.builds(
    Completion,
    key=keys,
    text=st.none() | texts,
    failure=st.none() | st.builds(Failure, st.just("sample"), texts, texts),
)


@given(st.lists(st.tuples(st.integers(0, 1 << 40), requests), max_size=3))
def test_requests_survive_the_wire(batch: list[tuple[int, Request]]) -> None:
    grant = messages.Grant(1, batch, "work")
    assert messages.decode_from_coordinator(messages.encode(grant)) == grant


@given(st.lists(st.tuples(st.integers(0, 1 << 40), completions), max_size=3))
def test_answers_survive_the_wire(batch: list[tuple[int, Completion]]) -> None:
    answers = messages.Answers(7, [(index, Encoded.of(completion).json) for index, completion in batch])
    received = messages.decode_from_worker(messages.encode(answers))
    assert isinstance(received, messages.Answers)
    assert [(index, Encoded.read(json).completion) for index, json in received.completions] == batch


@pytest.mark.parametrize(
    "json",
    [
        b"",
        b"{",
        b"null",
        b'{"key":["t","x",0],"text":1}',
        b'{"key":["t","x",0],\n"text":"a"}',
        b'{"text":"a","key":["t","x",0]}',
        b'{"key":["t","x",0],"text":"a"}\n{"key":["t","y",0],"text":"b"}',
    ],
)
def test_what_is_no_completion_in_one_line_is_refused(json: bytes) -> None:
    """It becomes part of a line of the journal as it is."""
    with pytest.raises(msgspec.DecodeError):
        Encoded.read(json)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(payload: bytes) -> None:
    for decode in (messages.decode_from_worker, messages.decode_from_coordinator):
        try:
            decode(payload)
        except msgspec.DecodeError:
            continue


def test_stop_is_a_message() -> None:
    assert messages.decode_from_coordinator(messages.encode(Stop("over", "done"))) == Stop("over", "done")


def test_a_drained_worker_starts_nothing_more_and_gives_back_what_it_has_not_started() -> None:
    with serving(400) as served:
        link = link_to(lambda: served.port)
        stream = ClaimedRequests(link)
        for _ in range(50):  # long enough for claims ahead to pile up
            stream.answer(Completion(next(stream).key, "text"))
        link.drain()
        with pytest.raises(StopIteration):
            next(stream)
        link.leave()
        limit = time.monotonic() + DEADLINE
        while served.coordinator.workers["worker-0"].state != "left" and time.monotonic() < limit:
            time.sleep(0.01)
        assert served.coordinator.outstanding == 0
        assert len(served.records) == 50


def test_requests_with_more_media_than_a_frame_may_hold_travel_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "MAX_FRAME", 1 << 20)
    monkeypatch.setattr("muster.coordinator.server._MOST_BUFFERED", 1 << 19)
    image = Media("image", data=b"x" * 200_000)
    samples = [Sample(str(i), "q", images=(image,)) for i in range(12)]
    monkeypatch.setattr(
        ToyPrompt, "render", lambda self, sample: (Message("user", (Part(media=sample.images[0]),)),)
    )
    with serving(12, samples=samples) as served:
        link = link_to(lambda: served.port)
        stream = ClaimedRequests(link)
        taken: list[Request] = []
        while batch := stream.take(12):
            taken += batch
            for request in batch:
                stream.answer(Completion(request.key, "text"))
        link.leave()
        assert served.coordinator.finished
        assert len(taken) == 12
