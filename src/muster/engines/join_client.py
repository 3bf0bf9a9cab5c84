"""How a machine asks a running run whether, and with what, it may join."""

from __future__ import annotations

import msgspec

from muster.core import ConfigurationError, RunError
from muster.wire.endpoint import Endpoint
from muster.wire.messages import JoinRequest, Offer, Refused, Stop, decode_from_coordinator, encode
from muster.wire.transport import Connection, HandshakeError, WrongSecretError

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 10.0


class UnreachableError(RunError):
    """No coordinator answers at this address."""


def ask_to_join(address: Endpoint, key: bytes, join_request: JoinRequest) -> Offer | Stop:
    """Ask, and return what is offered, or `Stop` where the run is ending. Takes a quarter of a minute at most.

    Raises:
        UnreachableError: nobody answers.
        ConfigurationError: somebody else answers, the secret is wrong, or the coordinator refuses.
    """
    try:
        connection = Connection.connect(address, key, _CONNECT_SECONDS)
    except WrongSecretError:
        raise ConfigurationError(
            f"the run at {address} has another secret: take the one that it wrote (join-secret in its folder), or "
            "that was given to it; each start of a run makes a new one"
        ) from None
    except HandshakeError as error:
        raise ConfigurationError(f"{address}: {error}") from error
    except OSError as error:
        raise UnreachableError(
            f"no run can be joined at {address} ({error.strerror or error}): it has ended, has not begun, was not "
            "started with --listen, listens on another address (the loopback?), or a firewall is between"
        ) from error
    try:
        connection.limit_wait(_ANSWER_SECONDS)
        connection.send(encode(join_request))
        payload = connection.receive()
    except OSError:
        payload = None
    finally:
        connection.close()
    return _answer(address, payload)


def _answer(address: Endpoint, payload: bytes | None) -> Offer | Stop:
    try:
        message = None if payload is None else decode_from_coordinator(payload)
    except msgspec.DecodeError:
        message = None
    if isinstance(message, Refused):
        raise ConfigurationError(f"the run at {address} refuses this machine: {message.reason}")
    if not isinstance(message, Offer | Stop):
        raise UnreachableError(f"the run at {address} gave no answer: it has just ended, or it is overloaded")
    return message
