"""A small table of faults survived: one run per fault and engine, broken at a random moment, counted independently.

`python -m benchmarks.chaos` makes the large one; faults whose messages matter have tests of their own. Guards against
what no scripted failure shows: a fault that comes while processes start, while an answer is on its way, or while the
results are written.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import get_args

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.chaos import attempts, trial
from benchmarks.chaos.__main__ import main, record
from benchmarks.chaos.audit import Audit, answers_in, audit, is_complete
from benchmarks.chaos.calls import Call, seconds_redone
from benchmarks.chaos.damage import Damage, damage
from benchmarks.chaos.faults import FAULTS, Missed
from benchmarks.chaos.outcomes import HEADER, add, kept, rows
from benchmarks.chaos.stages import stage
from benchmarks.chaos.trial import Outcome, Setting, run_trial, shows_traceback
from muster.attempt import attempt_of
from muster.core import Completion, RequestKey, RunError
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record, read_journal
from muster.results.manifest import Attempt, Manifest
from processes import DEADLINE, fake, launched, start, start_program
from toy_task import toy_plan

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root (a small disk)")
rooted = (pytest.mark.root, needs_root)
SAMPLES = 8
"""Of each of the demo's five tasks."""


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    """The undisturbed run, by the demo model itself. What is started from now on is forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "START", functools.partial(start_program, heavy=True))
        patch.setattr(attempts, "LAUNCHER_SECONDS", DEADLINE)
        patch.setattr(trial, "LIMIT_SECONDS", DEADLINE)
        yield record(tmp_path_factory.mktemp("chaos"), SAMPLES, "recorded")


def tried(engine: str, fault: str, setting: Setting) -> Outcome:
    """One trial; another moment where the run was over before the fault came."""
    with stage(engine, setting.scratch) as where:
        for again in range(10):
            try:
                return run_trial(where, FAULTS[fault], 0, setting, Random(f"{engine}:{fault}:{again}"))
            except Missed:
                continue
    raise AssertionError("the fault always came too late")


def assert_survived(outcome: Outcome, resumes: int) -> None:
    assert outcome.sound, outcome
    assert not outcome.traceback, outcome
    assert outcome.resumes <= resumes, outcome


@pytest.mark.parametrize(
    ("engine", "fault"),
    [
        ("local", "kill-worker"),
        ("local", "kill-workers"),
        ("local", "slow-host"),
        ("local", "poison"),
        pytest.param("torchrun", "restart-group", marks=pytest.mark.slow),
    ],
)
def test_what_is_survived_without_help(engine: str, fault: str, setting: Setting) -> None:
    assert_survived(tried(engine, fault, setting), resumes=0)


@pytest.mark.parametrize(
    ("engine", "fault"),
    [
        ("inline", "torn-journal"),
        pytest.param("inline", "full-disk", marks=rooted),
        ("local", "kill-everything"),
    ],
)
def test_what_takes_the_same_command_again(engine: str, fault: str, setting: Setting) -> None:
    assert_survived(tried(engine, fault, setting), resumes=1)


# -- what the large table has found, each alone


def muster(output: Path, *options: str, task: str = "digits_read") -> list[str]:
    model = ["--model", "demo", "--backend", fake("Echo"), "--tasks", task, "--limit", "30"]
    return [
        sys.executable,
        "-m",
        "muster",
        "run",
        *model,
        "--output",
        str(output),
        "--progress",
        "plain",
        *options,
    ]


@pytest.mark.parametrize(("task", "status"), [("digits_read", 0), ("digits_raed", 2)])
def test_a_full_disk_under_standard_error_changes_no_exit_code(
    task: str, status: int, tmp_path: Path
) -> None:
    """`muster run … 2> run.log`: progress that could not be written once ended the run with a traceback."""
    with Path("/dev/full").open("w") as full:
        words, env = muster(tmp_path / "run", task=task), {**os.environ, "OMP_NUM_THREADS": "1"}
        process = start_program(words, env=env, stderr=full, stdout=subprocess.DEVNULL)
    assert process.wait() == status
    assert is_complete(tmp_path / "run") == (status == 0)


def test_a_log_that_cant_be_written_costs_no_worker(tmp_path: Path) -> None:
    """A rank that was refused for it took the launcher's whole group with it."""
    (tmp_path / "run" / "logs" / "worker-1.log").mkdir(parents=True)
    options = ["--model", "demo", "--backend", fake("Echo"), "--tasks", "digits_read", "--limit", "30"]
    options += ["--progress", "plain", "--model-args", "seconds=0.05"]
    run = start(tmp_path / "run", *options, launcher=launched(2))
    assert run.wait() == 0, run.stderr
    assert is_complete(tmp_path / "run")
    assert "a line of worker-1 is missing from its log" in run.stderr
    assert not shows_traceback(run.stderr)


def test_a_full_disk_at_the_very_end_is_told_without_a_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """How the attempt ended could not be noted after what had failed before, and both tracebacks were shown."""
    manifest = Manifest.describe(
        run="r1", model="demo", backend="transformers", model_args={}, config={}, planned=[toy_plan()]
    ).with_attempt(Attempt(0.0, "inline", world_size=1, command=[]))
    disk_full = RunError("cannot write the journal: No space left on device")
    with pytest.raises(RunError) as raised, attempt_of(RunFolder(tmp_path / "no such folder"), manifest):
        raise disk_full
    assert raised.value is disk_full
    (said,) = caplog.records
    assert "how this attempt ended could not be noted" in said.message
    assert said.exc_info is None


# -- the count itself: it must find what is wrong


@pytest.fixture
def run(setting: Setting, tmp_path: Path) -> Path:
    """A copy of the undisturbed run's folder."""
    shutil.copytree(setting.scratch / "undisturbed", tmp_path / "run")
    return tmp_path / "run"


def test_the_undisturbed_run_is_sound(run: Path, setting: Setting) -> None:
    assert audit(run, setting.truth) == Audit(0, 0, 0)


def test_an_answer_that_is_missing_from_the_journal_is_found(run: Path, setting: Setting) -> None:
    journal = run / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"attempt":1', b'"attempt":7')  # the checksum is wrong now
    journal.write_bytes(b"".join(lines[:-1]))
    assert audit(run, setting.truth) == Audit(lost=2, twice=0, different=0)


def test_an_answer_that_stands_twice_in_the_journal_is_found(run: Path, setting: Setting) -> None:
    journal = run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes() + journal.read_bytes().splitlines(keepends=True)[-1])
    assert audit(run, setting.truth) == Audit(lost=0, twice=1, different=0)


def test_rows_that_are_missing_doubled_or_different_are_found(run: Path, setting: Setting) -> None:
    table = pq.read_table(run / "samples.parquet")
    answers = table.column("prediction").to_pylist()
    changed = pa.array(["something else", *answers[1:]], pa.string())
    table = table.set_column(table.schema.get_field_index("prediction"), "prediction", changed)
    pq.write_table(
        pa.concat_tables([table.slice(0, table.num_rows - 2), table.slice(5, 1)]), run / "samples.parquet"
    )
    assert audit(run, setting.truth) == Audit(lost=2, twice=1, different=1)


def test_a_score_that_differs_is_found(run: Path, setting: Setting) -> None:
    results = run / "results.json"
    content = msgspec.json.decode(results.read_bytes())
    content["tasks"]["digits_read"]["metrics"]["accuracy"]["value"] += 1e-12
    results.write_bytes(msgspec.json.encode(content))
    assert audit(run, setting.truth) == Audit(lost=0, twice=0, different=1)


def test_a_run_that_wrote_nothing_has_lost_everything(setting: Setting, tmp_path: Path) -> None:
    assert audit(tmp_path, setting.truth).lost == 5 * SAMPLES


@pytest.mark.parametrize("how", get_args(Damage))
@pytest.mark.parametrize("seed", range(20))
def test_muster_and_the_count_agree_about_a_damaged_journal(how: Damage, seed: int, tmp_path: Path) -> None:
    """Two readers that share no code; neither takes garbage for an answer, nor loses one that is whole."""
    path = tmp_path / "journal.jsonl"
    keys = [RequestKey("task", f"s{number}", 0) for number in range(30)]
    with Journal.open(path, "run") as journal:
        journal.append_many(
            Record(Completion(key, f'"{key}" }},"crc":"'), "worker-0", 1.0, 1) for key in keys
        )
    damage(path, Random(f"{how}:{seed}"), how)
    found = answers_in(path.read_bytes())
    assert found == [tuple(record.completion.key) for record in read_journal(path)]
    assert set(found) <= {tuple(key) for key in keys}
    assert len(found) >= 15 or how == "zeroes"


def test_the_checksum_is_that_of_the_documentation() -> None:
    body = b'{"completion":{"key":["t","1",0],"text":"7","failure":null}'
    line = body + b',"crc":"%08x"}' % zlib.crc32(body)
    assert answers_in(line + b"\n" + line.replace(b'"7"', b'"8"')) == [("t", "1", 0)]


def test_work_is_redone_when_it_is_answered_again_or_never_ends() -> None:
    calls = [Call(("a", "b"), 0.0, 2.0), Call(("a",), 2.0, 4.0), Call(("c",), 4.0, None)]
    assert seconds_redone(calls) == 2.0 + 2.0  # the second answer, and one call of mean length
    assert seconds_redone([]) == 0.0


def test_only_musters_own_tracebacks_count() -> None:
    launchers = (
        'Traceback (most recent call last):\n  File "/x/torch/run.py", line 1, in main\nChildFailedError\n'
    )
    own = 'Traceback (most recent call last):\n  File "/x/muster/run.py", line 1, in run\n    run()\nKeyError: 1\n'
    assert not shows_traceback(launchers + "muster/ said something else\n")
    assert shows_traceback(launchers + own)


def test_outcomes_are_kept_and_become_a_table(tmp_path: Path) -> None:
    outcome = Outcome(
        "local", "kill-worker", 0, "recorded", 0, True, True, [[0]], 0, 0, 0, 0.5, 3.0, 1.0, 7, False
    )
    file = tmp_path / "outcomes.jsonl"
    add(file, outcome)
    add(file, msgspec.structs.replace(outcome, resumes=1, lost=2, redone_seconds=1.5, statuses=[[None], [3]]))
    with file.open("ab") as torn:
        torn.write(b'{"engine":"lo')
    assert [each.sound for each in kept(file)] == [True, False]
    (row,) = rows(kept(file), "recorded", ["local"])
    assert dict(zip(HEADER, row, strict=True)) == {
        "engine": "local",
        "fault": "kill -9 of a worker",
        "runs": "2",
        "without help": "1",
        "after one resume": "1",
        "after two": "0",
        "samples lost": "2",
        "scored twice": "0",
        "scores that differ": "0",
        "work redone, s: mean, most": "1.00, 1.50",
        "ended by itself": "2 of 2",
        "exit codes": "0: 1, 3: 1",
        "seconds: mean, most": "3, 3",
    }
    assert not rows(kept(file), "demo", ["local"])


def test_a_table_is_written_beside_its_outcomes_and_of_none_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report of outcomes that weren't there once took the place of the table of a thousand."""
    outcomes = tmp_path / "some.jsonl"
    monkeypatch.setattr(sys, "argv", ["chaos", "--report", "--outcomes", str(outcomes)])
    with pytest.raises(SystemExit) as refused:
        main()
    assert (refused.value.code, "say --outcomes" in capsys.readouterr().err) == (2, True)
    assert not list(tmp_path.iterdir())
    shutil.copy(Path(__file__).parents[1] / "benchmarks" / "RESULTS-chaos.jsonl", outcomes)
    assert main() == 0
    assert (tmp_path / "some.md").read_text("utf-8").count("\n| local | ") >= 10
