"""What others said can't steer the terminal, and no form of a secret gets into messages.

Guards against a model's, a server's or a worker's text that clears the screen, hides a line or writes one of its own,
and against a password that a server echoes as it was sent.
"""

from __future__ import annotations

import base64
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from rich.table import Table

import muster
from muster.cli import status as status_command
from muster.cli.complaint import complain
from muster.core import Completion, ConfigurationError, Failure, RequestKey
from muster.core.saying import Shown
from muster.core.text import printable
from muster.models.api.secrets import without
from muster.report.console import terminal
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record
from processes import fake, write_benchmark

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil\u2066\u200f\r\x08\u2028\ufeff\U000e0041"


def harmless(text: str) -> bool:
    allowed = {"\n", "\t"}
    return all(character.isprintable() or character in allowed for character in text)


def test_a_jobs_output_is_shown_as_it_grows() -> None:
    """`muster slurm follow` gets it in pieces that end anywhere."""
    said, target = f"ünï 漢字\r\n1 %\r2 %\n{EVIL}\n".encode() + b"\xff\n", io.BytesIO()
    shown = Shown(target)
    for byte in said:
        shown.write(bytes([byte]))
    text = target.getvalue().decode()
    assert text.startswith("ünï 漢字\n1 %\n2 %\n\\x1b[2J")
    assert text.endswith("\n\ufffd\n")
    assert harmless(text.replace("\ufffd", "?"))


def test_escapes_are_seen() -> None:
    assert printable("a\x1b[2Jb") == "a\\x1b[2Jb"
    assert printable("\u202etxt.exe") == "\\u202etxt.exe"
    assert harmless(printable(EVIL))
    kept = "Ünïcode, 漢字, emoji 👩‍🚀, עברית,\n\ttabs and lines"
    assert printable(kept) == kept


def test_messages_and_tables_are_harmless() -> None:
    errors, shown = io.StringIO(), io.StringIO()
    with redirect_stderr(errors), redirect_stdout(shown):
        complain(ConfigurationError(f"the server says {EVIL}"))
        table = Table("column")
        table.add_row(EVIL)
        terminal(width=200).print(table)
    assert harmless(errors.getvalue())
    assert "evil" in errors.getvalue()
    assert harmless(shown.getvalue())
    assert "evil" in shown.getvalue()


def test_status_of_hostile_workers_and_models_is_harmless(tmp_path: Path) -> None:
    muster.evaluate(
        "x",
        str(write_benchmark(tmp_path / "b", 2)),
        output=tmp_path / "run",
        backend=fake("Echo"),
        engine="inline",
    )
    folder = RunFolder(tmp_path / "run")
    run = muster.results.manifest.Manifest.load(folder.manifest).run  # type: ignore[attr-defined]
    with Journal.open(folder.journal, run) as journal:
        failure = Failure("sample", "Error", EVIL)
        journal.append(Record(Completion(RequestKey("echo", "s0", 0), failure=failure), f"w{EVIL}", 1.0, 2))
    shown = io.StringIO()
    with redirect_stdout(shown):
        status_command.command(folder.root)
    assert harmless(shown.getvalue())
    assert "evil" in shown.getvalue()


SECRET = "pa$$wörd/?=&+12"


@pytest.mark.parametrize("before", ["", "u:", "user:", "Token xy "])
@pytest.mark.parametrize("after", ["", ":x", " tail"])
def test_a_secret_is_found_in_whatever_was_encoded(before: str, after: str) -> None:
    whole = f"{before}{SECRET}{after}".encode()
    for said in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
        text = f"bad header: {said.decode()}"
        hidden = without(text, SECRET)
        assert "***" in hidden
        left = hidden.replace("bad header: ", "").replace("***", "")
        assert len(left) <= len(base64.b64encode(f"{before}{after}".encode())) + 8


def test_other_forms_and_beginnings_of_secrets() -> None:
    import html
    import json
    from urllib.parse import quote, quote_plus

    for form in (
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET),
    ):
        inner = form.strip('"')
        assert inner not in without(f"<{inner}>", SECRET)
    assert SECRET.encode().hex() not in without(SECRET.encode().hex(), SECRET)
    assert without("the key sk-abcdefghijk…", "sk-abcdefghijklmnop") == "the key ***…"
    assert without("the key sk-abcdefgh", "sk-abcdefghijklmnop") == "the key ***"
    assert without("nothing here", SECRET) == "nothing here"
