"""Frames over TCP, and the handshake by which both ends prove that they know the run's secret.

A frame is its length in four bytes, big-endian, and that many bytes. The handshake is a challenge and
response with HMAC-SHA256 in both directions; the secret itself never travels. What follows is neither
encrypted nor signed: the trust boundary is the cluster's network, as it is for NCCL and Gloo.
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
HANDSHAKE_SECONDS = 20.0
SILENCE_SECONDS = 60
"""How long a connection outlives a network that is cut; then the worker tries to come back with another."""
_LENGTH = struct.Struct(">I")
_NONCE = 32
_GREETING = b"muster/1\n"


class HandshakeError(RunError):
    """The other end is not part of this run."""


def _proof(secret: bytes, side: bytes, mine: bytes, theirs: bytes) -> bytes:
    return hmac.digest(secret, side + mine + theirs, hashlib.sha256)


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> None:
    """The coordinator's half of the handshake. Raises `HandshakeError` for a stranger."""
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            nonce = secrets.token_bytes(_NONCE)
            writer.write(_GREETING + nonce)
            answer = await reader.readexactly(2 * _NONCE)
            theirs, proof = answer[:_NONCE], answer[_NONCE:]
            if not hmac.compare_digest(proof, _proof(secret, b"worker", theirs, nonce)):
                raise HandshakeError("a connection with the wrong secret was refused")
            writer.write(_proof(secret, b"coordinator", nonce, theirs))
            await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
        raise HandshakeError(f"a connection did not complete the handshake ({error!r})") from error


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, or None at the end of the connection."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > MAX_FRAME:
            return None
        return await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def frame(payload: bytes) -> bytes:
    """The payload with its length before it."""
    return _LENGTH.pack(len(payload)) + payload


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

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = connected.makefile("rb", buffering=1 << 18)

    @classmethod
    def connect(cls, address: tuple[str, int], secret: bytes, timeout: float) -> Connection:
        """Connect and shake hands.

        Raises:
            OSError: nobody listens there.
            HandshakeError: somebody else's coordinator listens there.
        """
        connected = socket.create_connection(address, timeout=timeout)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            notice_silence(connected)
            connected.settimeout(HANDSHAKE_SECONDS)
            connection = cls(connected)
            connection._introduce(secret)
            connected.settimeout(None)
        except BaseException:
            connected.close()
            raise
        return connection

    def _introduce(self, secret: bytes) -> None:
        greeting = self._buffer.read(len(_GREETING) + _NONCE)
        if len(greeting) != len(_GREETING) + _NONCE or not greeting.startswith(_GREETING):
            raise HandshakeError("what listens at the coordinator's address is not a Muster coordinator")
        theirs, mine = greeting[len(_GREETING) :], secrets.token_bytes(_NONCE)
        self._socket.sendall(mine + _proof(secret, b"worker", mine, theirs))
        proof = self._buffer.read(hashlib.sha256().digest_size)
        if not hmac.compare_digest(proof, _proof(secret, b"coordinator", theirs, mine)):
            raise HandshakeError("the coordinator at this address belongs to another run")

    def send(self, payload: bytes) -> None:
        """Send one frame. Raises `OSError` when the connection is gone."""
        if len(payload) < 1 << 16:
            self._socket.sendall(frame(payload))
        else:
            self._socket.sendall(_LENGTH.pack(len(payload)))
            self._socket.sendall(payload)

    def receive(self) -> bytes | None:
        """The next frame, or None when the connection has ended."""
        try:
            head = self._buffer.read(_LENGTH.size)
            if len(head) < _LENGTH.size:
                return None
            (length,) = _LENGTH.unpack(head)
            payload = self._buffer.read(length) if length <= MAX_FRAME else b""
        except (OSError, ValueError):
            return None
        return payload if len(payload) == length else None

    def close(self) -> None:
        """End the connection; a thread in `receive` returns."""
        with contextlib.suppress(OSError):  # it was closed by the other end
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
