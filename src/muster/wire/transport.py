"""Frames over TCP, and the handshake by which both ends prove that they know the run's secret.

The handshake is a challenge and response with HMAC-SHA256 in both directions; the secret itself never travels, and
both sides' fresh nonces make a recorded handshake worthless. From it each direction gets a key. A frame is the
payload's length in four bytes, big-endian, a tag of 16 bytes (keyed BLAKE2b over the frame's number and the payload),
and the payload; a frame that was changed, repeated, left out or made up ends the connection. Nothing is encrypted:
who can read the network can read prompts and answers, as with NCCL and Gloo.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
import socket
import struct

from muster.core import RunError

MAX_FRAME = 1 << 30
"""Bytes; a longer frame is taken for garbage."""
HANDSHAKE_SECONDS = 10.0
SILENCE_SECONDS = 60
"""How long a connection outlives a network that is cut; then the worker tries to come back with another."""
_LENGTH = struct.Struct(">I")
_NUMBER = struct.Struct(">Q")
_READ = 1 << 16
_NONCE = 32
_TAG = 16
_GREETING = b"muster/2\n"
_REFUSED = bytes(32)
"""In the place of the coordinator's proof."""


class HandshakeError(RunError):
    """The other end is not part of this run."""


class WrongSecretError(HandshakeError):
    """A coordinator, but of another run, or the secret is wrong."""


class Seal:
    """Makes and checks the tags of one direction of one connection, in the order of its frames."""

    def __init__(self, key: bytes) -> None:
        self._key, self._number = key, 0

    def next_tag(self, payload: bytes) -> bytes:
        """The tag of the next frame."""
        digest = hashlib.blake2b(_NUMBER.pack(self._number), key=self._key, digest_size=_TAG)
        digest.update(payload)
        self._number += 1
        return digest.digest()

    def head(self, payload: bytes) -> bytes:
        """What goes before the payload of the next frame."""
        return _LENGTH.pack(len(payload)) + self.next_tag(payload)

    def fits(self, tag: bytes, payload: bytes) -> bool:
        """Whether this is the next frame."""
        return hmac.compare_digest(tag, self.next_tag(payload))


def _proof(secret: bytes, side: bytes, mine: bytes, theirs: bytes) -> bytes:
    return hmac.digest(secret, side + mine + theirs, hashlib.sha256)


def _seals(secret: bytes, workers: bytes, coordinators: bytes) -> tuple[Seal, Seal]:
    """The seals of what the worker and of what the coordinator sends, from their nonces."""
    to_coordinator = _proof(secret, b"from worker", workers, coordinators)
    to_worker = _proof(secret, b"from coordinator", workers, coordinators)
    return Seal(to_coordinator), Seal(to_worker)


class Channel:
    """The coordinator's end of a connection, after the handshake. For the event loop's thread alone."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incoming: Seal, outgoing: Seal
    ) -> None:
        self._reader, self._writer = reader, writer
        self._incoming, self._outgoing = incoming, outgoing
        self._received = bytearray()
        self._to_send = bytearray()

    def send(self, payload: bytes) -> None:
        """Put a frame into the send buffer; returns at once. Without effect when the connection is gone.

        What is sent in one turn of the event loop is written together: an acknowledgement and the next claim.
        """
        if not self._to_send:
            asyncio.get_running_loop().call_soon(self._flush)
        self._to_send += self._outgoing.head(payload)
        self._to_send += payload

    def _flush(self) -> None:
        if self._to_send:
            self._writer.write(self._to_send)
            self._to_send = bytearray()

    async def receive(self) -> bytes | None:
        """The next frame, or None at the end of the connection and where a frame isn't what the other end sent."""
        head = _LENGTH.size + _TAG
        if not await self._receive(head):
            return None
        (length,) = _LENGTH.unpack_from(self._received)
        if length > MAX_FRAME or not await self._receive(head + length):
            return None
        tag, payload = bytes(self._received[_LENGTH.size : head]), bytes(self._received[head : head + length])
        del self._received[: head + length]
        return payload if self._incoming.fits(tag, payload) else None

    async def _receive(self, size: int) -> bool:
        """Have at least so many bytes; False at the end of the connection."""
        while len(self._received) < size:
            try:
                more = await self._reader.read(_READ)
            except ConnectionError:
                return False
            if not more:
                return False
            self._received += more
        return True

    @property
    def unsent(self) -> int:
        """Bytes in the send buffer."""
        return len(self._to_send) + self._writer.transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the other end has read most of the send buffer. Raises `ConnectionError`."""
        self._flush()
        await self._writer.drain()

    def close(self) -> None:
        """End the connection, after what is in the send buffer."""
        self._flush()
        self._writer.close()


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> Channel:
    """The coordinator's half of the handshake. Raises `HandshakeError` for a stranger."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            mine = secrets.token_bytes(_NONCE)
            writer.write(_GREETING + mine)
            answer = await reader.readexactly(2 * _NONCE)
            theirs, proof = answer[:_NONCE], answer[_NONCE:]
            if not hmac.compare_digest(proof, _proof(secret, b"worker", theirs, mine)):
                writer.write(_REFUSED)
                raise HandshakeError("a connection with the wrong secret was refused")
            writer.write(_proof(secret, b"coordinator", mine, theirs))
            await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
        raise HandshakeError(f"a connection did not complete the handshake ({error!r})") from error
    connected: socket.socket = writer.get_extra_info("socket")
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    notice_silence(connected)
    _receive_into_little(writer.transport)
    return Channel(reader, writer, *_seals(secret, theirs, mine))


def _receive_into_little(connection: asyncio.WriteTransport) -> None:
    """Have asyncio's selector loop make room for `_READ` bytes with each receive.

    Its own 256 KiB malloc maps and unmaps time and again. `max_size` is an attribute of the class that nothing
    documents; where there is none, this changes nothing.
    """
    with contextlib.suppress(AttributeError):
        connection.max_size = _READ  # type: ignore[attr-defined]


def notice_silence(connected: socket.socket) -> None:
    """End a connection whose other end has been off the network for `SILENCE_SECONDS`.

    Without this a cut cable is noticed after a quarter of an hour, or never by who only waits.
    """
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENCE_SECONDS // 3),
        ("TCP_KEEPINTVL", SILENCE_SECONDS // 6),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", SILENCE_SECONDS * 1000),
    ):
        if hasattr(socket, name):  # macOS has some of them
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Connection:
    """A worker's blocking connection. `send` is for one thread at a time, `receive` for another."""

    def __init__(self, connected: socket.socket, secret: bytes) -> None:
        """Shake hands over a connected socket. Raises `HandshakeError` and `OSError`."""
        self._socket = connected
        self._buffer = connected.makefile("rb", buffering=1 << 18)
        self._outgoing, self._incoming = self._introduce(secret)

    @classmethod
    def connect(cls, address: tuple[str, int], secret: bytes, timeout: float) -> Connection:
        """Connect and shake hands.

        Raises:
            OSError: nobody listens there.
            HandshakeError: what listens there is no coordinator, or another run's.
        """
        connected = socket.create_connection(address, timeout=timeout)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            notice_silence(connected)
            connected.settimeout(HANDSHAKE_SECONDS)
            connection = cls(connected, secret)
            connected.settimeout(None)
        except BaseException:
            connected.close()
            raise
        return connection

    def _introduce(self, secret: bytes) -> tuple[Seal, Seal]:
        greeting = self._buffer.read(len(_GREETING) + _NONCE)
        if len(greeting) != len(_GREETING) + _NONCE or not greeting.startswith(_GREETING):
            raise HandshakeError("what listens at the coordinator's address is not a Muster coordinator")
        theirs, mine = greeting[len(_GREETING) :], secrets.token_bytes(_NONCE)
        self._socket.sendall(mine + _proof(secret, b"worker", mine, theirs))
        proof = self._buffer.read(len(_REFUSED))
        if not proof:
            raise HandshakeError("the coordinator hung up during the handshake")
        if not hmac.compare_digest(proof, _proof(secret, b"coordinator", theirs, mine)):
            raise WrongSecretError("the coordinator at this address belongs to another run")
        return _seals(secret, mine, theirs)

    @property
    def peer(self) -> tuple[str, int]:
        """The other end's address, in numbers."""
        host, port, *_ = self._socket.getpeername()
        return host, port

    def send(self, payload: bytes) -> None:
        """Send one frame. Raises `OSError` when the connection is gone."""
        head = self._outgoing.head(payload)
        if len(payload) < 1 << 16:
            self._socket.sendall(head + payload)
        else:
            self._socket.sendall(head)
            self._socket.sendall(payload)

    def receive(self) -> bytes | None:
        """The next frame, or None when the connection has ended."""
        try:
            head = self._buffer.read(_LENGTH.size + _TAG)
            if len(head) < _LENGTH.size + _TAG:
                return None
            (length,) = _LENGTH.unpack_from(head)
            payload = self._buffer.read(length) if length <= MAX_FRAME else b""
        except (OSError, ValueError):
            return None
        whole = len(payload) == length and self._incoming.fits(head[_LENGTH.size :], payload)
        return payload if whole else None

    def limit_wait(self, seconds: float | None) -> None:
        """How long `receive` waits before it takes the connection for ended; None: for ever."""
        self._socket.settimeout(seconds)

    def close(self) -> None:
        """End the connection; a thread in `receive` returns."""
        with contextlib.suppress(OSError):  # it was closed by the other end
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
