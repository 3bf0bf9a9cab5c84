"""The options of `muster run` are the fields of `RunConfig`.

Guards against an option that exists on the command line and not in configuration files, or the other way round; against
help that says another default than the one in force; and against a `muster --help` that loads what only a run needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from muster.cli.app import app
from muster.cli.app import command as muster
from muster.config import Panel, RunConfig


def command(name: str) -> Any:
    return muster.commands[name]  # type: ignore[attr-defined]


def parsed(name: str, *words: str) -> dict[str, object]:
    with command(name).make_context(f"muster {name}", list(words)) as context:
        return dict(context.params)


def _words(shown: str) -> str:
    """Without frames and line ends, which may stand within a long word."""
    return "".join(re.sub("[│╭╮╰╯─]", " ", shown).split())


def test_every_field_is_an_option_and_says_what_it_is_for() -> None:
    given = parsed("run")
    assert set(given) == {*RunConfig.model_fields, "config", "auto", "json"}
    assert not any(value for value in given.values())
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "100"}).output
    text = _words(shown)
    for name, field in RunConfig.model_fields.items():
        assert field.description, name
        assert f"│ --{name.replace('_', '-')} " in shown
        assert _words(field.description.removesuffix(".")) in text
    titles = re.findall(r"╭─ (.+?) ─", shown)
    assert titles == [*get_args(Panel), "Also"]
    assert len({len(line) for line in shown.splitlines() if line.startswith(("╭", "│", "╰"))}) == 1


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("worker-timeout", "(default 120)"),
        ("schedule", "dynamic|contiguous|strided"),
        ("batch-size", "N|auto"),
        ("output", "PATH"),
        ("model-args", "NAME=VALUE,…"),
        ("max-failures", "(default 0)"),
    ],
)
def test_types_and_defaults_come_from_the_fields(option: str, says: str) -> None:
    shown = CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "100"}).output
    [entry] = re.findall(rf"│ --{option} (?:.|\n)*?(?=│ --|╰)", shown)
    assert says in " ".join(re.sub("│", " ", entry).split())


def test_what_is_typed_arrives_as_typed_and_flags_as_flags() -> None:
    given = parsed("run", "--limit", "0.5", "--trust-remote-code", "--output", "there", "--auto")
    assert given["limit"] == "0.5"
    assert given["trust_remote_code"] is True
    assert str(given["output"]) == "there"
    assert given["auto"] is True
    assert given["model"] is None


def test_another_command_has_those_fields_that_it_names() -> None:
    given = parsed("score", "runs/one", "--scoring", "all", "--by", "level", "--judge-args", "a=1")
    assert (given["scoring"], given["judge_args"]) == ("all", "a=1")
    assert given["by"] in (["level"], ("level",))  # by Typer's release
    assert "worker_timeout" not in given


def test_an_unknown_option_is_a_usage_error() -> None:
    done = CliRunner().invoke(app, ["run", "--modle", "demo"])
    assert done.exit_code == 2


def test_the_list_of_commands_loads_no_configuration() -> None:
    code = "import sys\nsys.argv = ['muster', '--help']\nfrom muster.cli.app import app\n"
    code += "try:\n app()\nexcept SystemExit:\n sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "muster.cli.run" in done.stderr.split()
    assert "Evaluate a model on tasks." in done.stdout
    assert not {"muster.config", "yaml", "asyncio", "rich"} & set(done.stderr.split())
