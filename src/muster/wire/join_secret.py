"""Secrets that whoever takes part in a run must know: made, kept in a file, and read. Never part of a command line."""

from __future__ import annotations

import getpass
import hashlib
import os
import secrets
from collections.abc import MutableMapping
from pathlib import Path
from typing import Literal, TextIO

from muster.core import ConfigurationError, RunError
from muster.core.regular_files import regular

VARIABLE = "MUSTER_JOIN_SECRET"
SHORTEST = 16
"""Characters. Who watches a handshake can try secrets at leisure, so a short one would be found."""


def new_secret() -> str:
    """A secret for one run: 256 random bits, as text."""
    return secrets.token_urlsafe(32)


def key_of(secret: str, entry: Literal["join", "ranks"] = "join") -> bytes:
    """What the handshake at this entry is made with: one secret for both doesn't open the other one."""
    return hashlib.sha256(f"muster {entry}\n{secret}".encode()).digest()


def given_secret(file: Path | None, env: MutableMapping[str, str] = os.environ) -> str | None:
    """The user's own secret: of a file, or of the environment, from which it is taken out; None where there is none.

    Raises:
        ConfigurationError: the file can't be read, or the secret is too short.
    """
    in_environment = env.pop(VARIABLE, "")  # what this process starts needs none
    if file is not None:
        return read_secret(file, f"--secret-file {file}")
    return _checked(in_environment, VARIABLE) if in_environment else None


def read_secret(file: Path, where: str) -> str:
    """The secret in a file. `where`: what messages call it. Raises `ConfigurationError` as `given_secret`."""
    try:
        return _checked(regular(file).read_text(encoding="utf-8"), where)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {where}: {error}") from error


def ask_for_secret(source: TextIO) -> str:
    """One line of standard input, asked for where that is a terminal. Raises `ConfigurationError` without one."""
    line = getpass.getpass("secret of the run: ") if source.isatty() else source.readline()
    if not line.strip():
        raise ConfigurationError(
            "the secret of the run is needed to join it: --secret-file FILE (the run says where it is), one line on "
            f"standard input, or {VARIABLE}"
        )
    return _checked(line, "the secret on standard input")


def write_secret(file: Path, secret: str) -> None:
    """Write it for this user alone. Raises `RunError`."""
    try:
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:  # noqa: PTH123
            stream.write(secret + "\n")
    except OSError as error:
        raise RunError(f"cannot write the secret for joining to {file}: {error.strerror or error}") from error


def _checked(text: str, where: str) -> str:
    secret = text.strip()
    if len(secret) < SHORTEST:
        raise ConfigurationError(f"{where} has {len(secret)} characters: a secret needs at least {SHORTEST}")
    return secret
