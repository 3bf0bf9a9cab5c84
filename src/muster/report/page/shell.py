"""What every page of Muster's has: its head with a strict policy, the one style, and the script by its digest."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from muster.report.page.markup import text


def opening(title: str, script: str = "", *, served: bool = False) -> str:
    """From the doctype to the beginning of the body. `script` is what `closing` will be given."""
    style = asset("style.css")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script, served=served)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title, 200)} – Muster</title><style>{style}</style></head><body>"
    )


def closing(script: str = "") -> str:
    """The end of the page."""
    return f"<script>{script}</script></body></html>\n" if script else "</body></html>\n"


def policy(script: str = "", *, served: bool = False) -> str:
    """Nothing may run or be loaded but this style, this script and pictures that are in the page.

    A page that is `served` may also send its forms to, and read from, where it came from.
    """
    allowed = f"'{_digest(script)}'" if script else "'none'"
    own = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src '{_digest(asset('style.css'))}'; script-src {allowed}; "
        f"connect-src {own}; base-uri 'none'; form-action {own}"
    )


def asset(name: str) -> str:
    """A file of this folder."""
    return (files("muster.report.page") / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
