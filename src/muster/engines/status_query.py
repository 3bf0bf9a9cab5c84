"""How whoever keeps a worker going asks the run's coordinator about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from muster.wire.messages import Refused, StatusQuery, Stop, WorkerStatus, decode_from_coordinator, encode
from muster.wire.transport import Connection, HandshakeError

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


class NoStatus(NamedTuple):
    """Why nothing could be learned of a worker."""

    state: Literal["over", "gone", "unreachable"]
    """`over`: the run is ending. `gone`: wherever the coordinator was, nobody listens, or somebody else does."""
    reason: str


def query_status(
    addresses: Sequence[tuple[str, int]], secret: bytes, query: StatusQuery
) -> WorkerStatus | NoStatus:
    """Ask at the first address where a coordinator answers. Takes a quarter of a minute per address at most."""
    state: Literal["gone", "unreachable"] = "gone"
    reasons = []
    for address in addresses:
        try:
            answer = _ask(address, secret, query)
        except (ConnectionRefusedError, HandshakeError) as error:
            reasons.append(_where(address, error))
        except OSError as error:  # it may be there, behind a network that is cut
            state = "unreachable"
            reasons.append(_where(address, error))
        else:
            if isinstance(answer, Stop):
                return NoStatus("over", answer.reason)
            if isinstance(answer, Refused):
                return NoStatus("gone", answer.reason)
            if isinstance(answer, WorkerStatus):
                return answer
            state = "unreachable"
            reasons.append(f"{address[0]}:{address[1]}: no answer")
    return NoStatus(state, "; ".join(reasons))


def _ask(address: tuple[str, int], secret: bytes, query: StatusQuery) -> object:
    connection = Connection.connect(address, secret, _CONNECT_SECONDS)
    try:
        connection.limit_wait(_ANSWER_SECONDS)
        connection.send(encode(query))
        payload = connection.receive()
        return None if payload is None else decode_from_coordinator(payload)
    except msgspec.DecodeError:
        return None
    finally:
        connection.close()


def _where(address: tuple[str, int], error: Exception) -> str:
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{address[0]}:{address[1]}: {what}"
