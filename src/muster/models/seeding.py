"""Seeds for sampled answers."""

from __future__ import annotations

import hashlib

from muster.core import RequestKey


def request_seed(seed: int, key: RequestKey) -> int:
    """64 bits from the run's seed and the request's name, the same on every machine."""
    text = "\x1f".join((str(seed), key.task, key.sample_id, str(key.repeat)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
