"""An answer with its JSON: encoded once, where it was made; what travels is what the journal keeps."""

from __future__ import annotations

from typing import NamedTuple, Self

import msgspec

from muster.core.completion import Completion

_START = b'{"key":['
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Completion).decode


class Encoded(NamedTuple):
    """A completion, and the same as JSON in one line."""

    completion: Completion
    json: bytes

    @classmethod
    def of(cls, completion: Completion) -> Self:
        """Encode. Raises `TypeError`, `ValueError` or `OverflowError` for what JSON can't hold.

        Checks no types.
        """
        return cls(completion, _encode(completion))

    @classmethod
    def read(cls, json: bytes) -> Self:
        """Decode what another process has sent.

        Raises `msgspec.DecodeError` for anything that isn't a completion as `of` writes it: it will be part of a line.
        """
        if not json.startswith(_START) or b"\n" in json:
            raise msgspec.DecodeError("this isn't a completion in one line of JSON")
        return cls(_decode(json), json)
