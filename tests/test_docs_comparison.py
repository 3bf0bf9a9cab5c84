"""The comparison: README and its page have the same rows, and every row names a command that there is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/comparison.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, str]:
    found = re.findall(r"^\| ([^|]+?) \| (.+) \|$", text, re.MULTILINE)
    return {name.strip("* "): rest for name, rest in found if name.strip()}


def test_the_readme_and_the_page_have_the_same_rows() -> None:
    table = README.split("## How it compares", 1)[1].split("\n## ", 1)[0]
    assert list(rows(table)) == list(rows(PAGE))


def test_every_row_names_a_command_that_there_is() -> None:
    for name, shown in rows(PAGE).items():
        commands = re.findall(r"`((?:muster|python -m|\.ci/\w+) [^`]+)`", shown)
        assert commands, f"{name}: no command"
        for command in commands:
            if command.startswith(".ci/"):
                assert (ROOT / command.split()[0]).is_file(), command
            if command.startswith("python -m"):
                assert importlib.util.find_spec(command.split()[2]), command
