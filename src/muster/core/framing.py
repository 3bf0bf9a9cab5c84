"""Frames over a socket between two of Muster's own processes on one machine: two lengths, a header, a payload.

The lengths are eight bytes each, the header is MessagePack (JSON to and from a toolkit's own interpreter). Both ends
are of one version, so there is neither a handshake nor a schema version.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import msgspec

_LENGTHS = struct.Struct(">QQ")


def send_frame(connection: socket.socket, header: object, payload: Sequence[memoryview | bytes] = ()) -> None:
    """Send one frame, one thread at a time.

    Raises `OSError` when the other end is gone, and what msgspec raises for the header.
    """
    send_encoded(connection, msgspec.msgpack.encode(header), payload)


def send_encoded(
    connection: socket.socket, header: bytes, payload: Sequence[memoryview | bytes] = ()
) -> None:
    """The same with a header that is encoded already. Raises `OSError`."""
    connection.sendall(_LENGTHS.pack(len(header), sum(map(len, payload))) + header)
    for part in payload:
        connection.sendall(part)


def receive_header(connection: socket.socket) -> tuple[bytes, int]:
    """The next frame's header and the length of the payload that follows. Raises `EOFError` at the end."""
    lengths = bytearray(_LENGTHS.size)
    receive_into(connection, memoryview(lengths))
    header_length, payload_length = _LENGTHS.unpack(lengths)
    header = bytearray(header_length)
    receive_into(connection, memoryview(header))
    return bytes(header), payload_length


def receive_into(connection: socket.socket, buffer: memoryview) -> None:
    """Fill a buffer. Raises `EOFError` when the connection ends before, and `OSError` when it breaks."""
    filled = 0
    while filled < len(buffer):
        # One call of the system for all that is to come: each costs a turn with the interpreter lock.
        count = connection.recv_into(buffer[filled:], 0, socket.MSG_WAITALL)
        if count == 0:
            raise EOFError("the connection ended")
        filled += count
