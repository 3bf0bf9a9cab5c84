"""Keys and passwords in what a server says: it may quote what it was sent, in the form in which that travelled."""

from __future__ import annotations

import base64
import html
import json
from functools import lru_cache
from urllib.parse import quote, quote_plus

from muster.models.api.options import BaseUrl

HIDDEN = "***"
_SHORTEST = 6
"""Of what is searched for in encoded forms, and of the beginning of a form that was cut off."""
_CUT = "…"


def without(text: str, *secrets: str) -> str:
    """`text` with the secrets blacked out, in every form that HTTP, JSON, HTML and logs give them.

    Base64 also where the secret is a part of what was encoded. The beginning of a form too, where the text's end, or an
    ellipsis, cuts it off.
    """
    for secret in filter(None, secrets):
        for form in forms(secret):
            text = text.replace(form, HIDDEN)
            text = _without_beginning(text, form)
    return text


def secrets_of(*urls: BaseUrl) -> list[str]:
    """What addresses hold: `user:password`, as it is sent, and the password alone."""
    return [secret for url in urls if url.password for secret in (f"{url.user}:{url.password}", url.password)]


@lru_cache(maxsize=64)
def forms(secret: str) -> tuple[str, ...]:
    """The texts by which a secret may be known, the longest first."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), html.escape(secret)}
    found |= {json.dumps(secret)[1:-1], json.dumps(secret).replace("/", "\\/")[1:-1]}
    if len(secret) >= _SHORTEST:
        raw = secret.encode()
        found |= {raw.hex(), raw.hex().upper(), repr(secret)[1:-1], secret[::-1]}
        for shift in range(3):
            found |= _in_base64(raw, shift)
    return tuple(sorted(found, key=len, reverse=True))


def _in_base64(raw: bytes, shift: int) -> set[str]:
    """What is the same in the base64 of every text that holds `raw` at this place (modulo 3)."""
    encoded = base64.b64encode(b"\0" * shift + raw).decode("ascii")
    first = {0: 0, 1: 2, 2: 3}[shift]
    whole = len(encoded) - (4 if (shift + len(raw)) % 3 else 0)
    rest = (shift + len(raw)) % 3
    inner = encoded[first : whole + rest]  # of the last group only what doesn't depend on what follows
    return {inner, inner.replace("+", "-").replace("/", "_"), quote(inner, safe="")}


def _without_beginning(text: str, form: str) -> str:
    """Without the beginning of `form` where the text was cut there."""
    for length in range(len(form) - 1, _SHORTEST - 1, -1):
        beginning = form[:length]
        if text.endswith(beginning):
            return text[:-length] + HIDDEN
        if beginning + _CUT in text:
            return text.replace(beginning + _CUT, HIDDEN + _CUT)
    return text
