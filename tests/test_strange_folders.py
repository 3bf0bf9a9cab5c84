"""Run folders and inputs of which a part is lost, edited, from elsewhere, or never comes to an end.

Guards against scores that compare answers with other data without a word, a new manifest beside an old journal, and
commands that read a pipe for ever.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import muster
from muster.cli.app import app
from muster.core import (
    Completion,
    ConfigurationError,
    Media,
    MusterError,
    RequestKey,
    RunError,
    Sample,
    SampleError,
)
from muster.media import load_image
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record
from muster.results.logs import KEPT_BYTES, MOST_BYTES, bound_logs
from muster.results.manifest import Manifest
from muster.results.predictions import score_predictions
from muster.results.results import Results
from muster.results.status import read_status
from muster.tasks.prompts import TemplatePrompt
from muster.tasks.registry import load_tasks
from muster.tasks.sources.references import parse_template
from muster.tasks.sources.rows import read_rows
from processes import fake, write_benchmark


@pytest.fixture
def run(tmp_path: Path) -> Path:
    task = write_benchmark(tmp_path / "bench", 4)
    evaluate(task, tmp_path / "run")
    return tmp_path / "run"


def evaluate(task: Path, output: Path) -> Results:
    return muster.evaluate("x", str(task), output=output, backend=fake("Echo"), engine="inline")


def said(*words: str) -> tuple[int, str]:
    """Exit code and all that a command says."""
    done = CliRunner().invoke(app, [*words])
    if isinstance(done.exception, MusterError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name[0] != "."
    }


def edit(run: Path) -> None:
    file = run.parent / "bench" / "echo.jsonl"
    file.write_text(file.read_text().replace('"answer s0"', '"something else"'))


def test_data_that_was_edited_since_isnt_scored_against_in_silence(run: Path) -> None:
    edit(run)
    before = contents(run)
    code, words = said("score", str(run))
    assert code == 2
    assert "the data of this run was changed" in words
    assert "tasks.echo.data" in words
    assert contents(run) == before
    code, _words = said("score", str(run), "--accept-changes")
    assert code == 0
    results = Results.load(run / "results.json")
    assert results.tasks["echo"].metrics["accuracy"].value == 0.75
    assert any("tasks.echo.data" in line for line in results.changed)


def test_rows_that_were_added_or_dropped_are_seen_too(run: Path) -> None:
    file = run.parent / "bench" / "echo.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    assert said("score", str(run))[0] == 2


def lose_manifest(run: Path) -> None:
    (run / "manifest.json").unlink()


def foreign_journal(run: Path) -> None:
    Journal.open(run / "journal.jsonl.other", "f" * 12).close()
    (run / "journal.jsonl.other").replace(run / "journal.jsonl")


def foreign_verdicts(run: Path) -> None:
    Journal.open(run / "verdicts.jsonl", "f" * 12).close()


def lose_journal(run: Path) -> None:
    (run / "journal.jsonl").unlink()


def no_journal(run: Path) -> None:
    (run / "journal.jsonl").write_text("a shopping list\n")


def brackets(run: Path) -> None:
    (run / "manifest.json").write_text("[" * 5000)


def deep_manifest(run: Path) -> None:
    (run / "manifest.json").write_text('{"schema": 1, "config": {"a": ' + "[" * 50_000 + "]" * 50_000 + "}}")


def pipe_for_a_manifest(run: Path) -> None:
    lose_manifest(run)
    os.mkfifo(run / "manifest.json")


def pipe_for_a_journal(run: Path) -> None:
    lose_journal(run)
    os.mkfifo(run / "journal.jsonl")


def device_for_a_journal(run: Path) -> None:
    lose_journal(run)
    (run / "journal.jsonl").symlink_to("/dev/zero")


DAMAGE: dict[Callable[[Path], None], str] = {
    lose_manifest: "no manifest.json",
    foreign_journal: "belongs to run ffffffffffff",
    foreign_verdicts: "belongs to run ffffffffffff",
    lose_journal: "no journal.jsonl",
    no_journal: "is not a Muster journal",
    brackets: "is not a manifest that Muster can read",
    deep_manifest: "is not a manifest that Muster can read",
    pipe_for_a_manifest: "a FIFO (named pipe)",
    pipe_for_a_journal: "a FIFO (named pipe)",
    device_for_a_journal: "a device",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_is_touched_before_everything_is_read(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run)
    before = contents(run) if "for_a" not in damage.__name__ else {}
    with pytest.raises(ConfigurationError) as caught:
        evaluate(run.parent / "bench" / "echo.yaml", run)
    assert DAMAGE[damage] in str(caught.value)
    assert not before or contents(run) == before
    for command in ("score", "status"):
        code, words = said(command, str(run))
        if (command, damage) != ("status", lose_journal):
            assert code == 2, (command, words)
            assert "Traceback" not in words
    assert not before or contents(run) == before


def test_results_of_another_run_are_nobodys_timing(run: Path, tmp_path: Path) -> None:
    evaluate(write_benchmark(tmp_path / "other", 2), tmp_path / "run2")
    shutil.copy(tmp_path / "run2" / "results.json", run / "results.json")
    assert said("score", str(run))[0] == 0
    assert Results.load(run / "results.json").timing == {}
    assert read_status(RunFolder(run)).finished == 4


# A journal under a running coordinator


def cut(path: Path) -> None:
    os.truncate(path, 10)


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x\n")


@pytest.mark.parametrize(
    ("does", "named"),
    [
        (cut, "was cut"),
        (replace, "was replaced"),
        (Path.unlink, "was removed"),
        (append, "written to by somebody else"),
    ],
)
def test_what_others_did_to_the_journal_is_named(
    tmp_path: Path, does: Callable[[Path], None], named: str
) -> None:
    journal = Journal.open(tmp_path / "journal.jsonl", "run")
    record = Record(Completion(RequestKey("t", "s", 0), "x"), "w", 0.0, 1)
    journal.append(record)
    journal.sync()
    does(journal.path)
    journal.append(record)
    with pytest.raises(RunError, match=named):
        journal.sync()
    journal.close()


def test_a_log_that_floods_keeps_its_end(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create()
    log = folder.log("worker-0")
    with log.open("ab") as flood:
        flood.truncate(MOST_BYTES + 1)
        flood.write(b"\nthe last words\n")
        flood.flush()
        bound_logs(folder)
        flood.write(b"and more\n")
    assert log.stat().st_size < KEPT_BYTES + 1000
    assert log.read_bytes().endswith(b"the last words\nand more\n")
    assert b"what came before was removed" in log.read_bytes()[:100]


# Inputs that never end


@pytest.fixture(params=["fifo", "device"])
def endless(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        if request.param == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        return path

    return make


def test_pipes_and_devices_are_no_files(endless: Callable[[str], Path], tmp_path: Path) -> None:
    task = load_tasks([str(write_benchmark(tmp_path / "bench", 1))])[0]
    for suffix in ("jsonl", "json", "csv", "tsv", "parquet", "arrow"):
        with pytest.raises(ConfigurationError, match="only regular files"):
            list(read_rows(endless(f"data.{suffix}")))
    with pytest.raises(ConfigurationError, match="only regular files"):
        score_predictions(task, task.source.load(), endless("predictions.jsonl"), None)
    with pytest.raises(ConfigurationError, match="only regular files"):
        load_tasks([str(endless("task.yaml"))])
    with pytest.raises(ConfigurationError, match="only regular files"):
        Manifest.load(endless("manifest.json"))
    with pytest.raises(SampleError, match="no regular file"):
        load_image(Media("image", path=str(endless("image.png"))))
    code, words = said("run", "--config", str(endless("config.yaml")))
    assert (code, "only regular files" in words) == (2, True)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_brackets_without_end_are_told(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('[{"a": ' * 5000 + "\n")
    with pytest.raises(ConfigurationError):
        list(read_rows(file))


ENDLESS = [
    "{{ 'a' * 3000000000 }}",
    "{{ question * 1000000000 }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in letters %}{% for b in question %}{% for c in question %}{% for d in question %}"
    "{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set ns = namespace(x='aa') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{{ 10 ** 10 ** 9 }}{{ (10 ** 99999) ** 99999 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>3000000000}'.format('a') }}",
    "{{ 'a'.center(3000000000) }}",
    "{{ 'a' | center(3000000000) }}",
    "{{ 'a' | indent(3000000000, first=true) }}",
    "{{ '%s' | format('a' * 9000000) }}",
    "{{ question.replace('', 'a' * 4000000) }}",
    "{{ range(99999) | map('string') | join(question * 9999) }}",
    "{% set x %}{% for i in range(99999) %}" + "y" * 9999 + "{% endfor %}{% endset %}",
]


@pytest.mark.parametrize("template", ENDLESS, ids=range(len(ENDLESS)))
def test_a_template_comes_to_an_end(template: str) -> None:
    sample = Sample("s", "q" * 300, choices=("a", "b"))
    with pytest.raises(ConfigurationError, match=r"can't be rendered: it (makes|takes|calculates)"):
        TemplatePrompt(template).render(sample)
    row = template.replace("letters", "[1, 2]")
    with pytest.raises(ValueError, match="can't be rendered: it"):
        parse_template(row).value({"question": "q" * 300})


def test_templates_that_do_a_little_of_everything_are_as_before() -> None:
    template = (
        "{% macro m(x) %}<{{ x }}>{% endmacro %}{% for c in choices %}{{ loop.index }}{{ c ~ '-' ~ 1 }}{{ m(c) }}"
        "{% endfor %}{{ '%s|%d' % ('a', 3) }}{{ question | upper | center(9) }}{{ 'x' * 3 }}{{ [1] + [2] }}"
        "{{ '{}-{:03d}'.format('b', 7) }}{{ choices | join('/') }}{{ question.replace('q', 'z') }}{{ 2 ** 10 }}"
    )
    [message] = TemplatePrompt(template).render(Sample("s", "q?", choices=("a", "b")))
    assert message.text == "1a-1<a>2b-1<b>a|3    Q?   xxx[1, 2]b-007a/bz?1024"


def test_a_manifest_says_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(ConfigurationError, match="newer Muster"):
        Manifest.load(tmp_path / "manifest.json")
