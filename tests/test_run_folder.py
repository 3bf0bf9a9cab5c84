"""One run at a time in a folder, files that are never half written, and a status anybody can read."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError, RequestKey, RunError
from muster.results.files import encode_json, replacing, write_json
from muster.results.folder import RunFolder
from muster.results.journal import Journal, Record, completed_keys
from muster.results.journal_lines import Entry, decode_entry, encode_record
from muster.results.manifest import Attempt, Manifest, check_covered
from muster.results.repair import repair_journal
from muster.results.status import read_status, summarise
from toy_task import answer, failure, keys_of, toy_plan

HOLDER = """
    import subprocess, sys
    from pathlib import Path
    from muster.results.folder import RunFolder
    with RunFolder(Path(sys.argv[1])).lock():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        sys.stdin.read()
"""


def start_holder(root: Path) -> tuple[subprocess.Popen[str], int]:
    """A process that holds the folder, with a worker of its own; returns both."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def end(process: subprocess.Popen[str], child: int) -> None:
    os.kill(child, signal.SIGKILL)
    process.kill()
    process.communicate()


def test_a_second_run_in_the_same_folder_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_locked()
    process, child = start_holder(folder.root)
    try:
        assert folder.is_locked()
        with pytest.raises(ConfigurationError) as refused, folder.lock():
            pytest.fail("two runs in one folder")
        assert f"process {process.pid} on {socket.gethostname()}, since 20" in str(refused.value)
        assert "--output" in str(refused.value)
    finally:
        end(process, child)


def test_a_killed_run_leaves_the_folder_free_though_its_workers_live_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    process, child = start_holder(folder.root)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        os.kill(child, 0)  # it is still there
        assert not folder.is_locked()
        with folder.lock():
            holder = folder.holder()
            assert holder is not None
            assert holder.pid == os.getpid()
    finally:
        end(process, child)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Network mounts answer so, and "No locks available" alone tells nobody what to do."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    expected = RunError if code == errno.EIO else ConfigurationError
    with pytest.raises(expected, match="cannot lock the run folder") as refused, RunFolder(tmp_path).lock():
        pytest.fail("locked without a lock")
    assert ("--output" in str(refused.value)) == (code != errno.EIO)


def test_the_lock_is_released_and_can_be_taken_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for _ in range(2):
        with folder.lock():
            assert folder.is_locked()
        assert not folder.is_locked()
        assert folder.holder() is None
    with pytest.raises(ZeroDivisionError), folder.lock():
        raise ZeroDivisionError
    assert not folder.is_locked()


def test_two_that_start_at_once_are_one(tmp_path: Path) -> None:
    """Both see a free folder; only the lock itself decides."""
    script = """
        import sys, time
        from pathlib import Path
        from muster.core import ConfigurationError
        from muster.results.folder import RunFolder
        sys.stdin.readline()
        try:
            with RunFolder(Path(sys.argv[1])).lock():
                print("mine", flush=True)
                sys.stdin.read()
        except ConfigurationError:
            print("refused", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "run")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in processes if process.stdout]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["mine", "refused", "refused"]


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--output"):
        RunFolder(tmp_path / "file" / "run").create()


@given(st.lists(st.text(st.characters()), unique=True, min_size=2, max_size=6))
def test_every_worker_has_a_log_file_of_its_own_inside_the_folder(names: list[str]) -> None:
    folder = RunFolder(Path("run"))
    files = [folder.log(name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert file.parent == folder.logs
        assert len(file.name.encode()) < 128
        assert not file.name.startswith(".")
    assert folder.log("node3-rank17").name == "node3-rank17.log"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"value": 1})
    before = path.read_bytes()

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with pytest.raises(RunError, match=r"cannot write .*results\.json"), replacing(path):
        raise OSError(28, "No space left on device")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_json_has_no_nan_and_no_surrogates() -> None:
    assert encode_json({"a": float("nan"), "b": float("-inf"), "c\ud800": "\ud83d\ude00\udfff"}) == (
        '{"a":null,"b":null,"c\N{REPLACEMENT CHARACTER}":"\N{GRINNING FACE}\N{REPLACEMENT CHARACTER}"}'.encode()
    )


def manifest(*, requested: int = 10, attempt: Attempt | None = None) -> Manifest:
    made = Manifest.describe(
        run="r1", model="org/m", backend="x", model_args={}, config={}, planned=[toy_plan(requested)]
    )
    return made.with_attempt(attempt or Attempt(1000.0, "local", 2))


def entry(record: Record) -> Entry:
    decoded = decode_entry(encode_record(record)[:-1])
    assert decoded is not None
    return decoded


def test_status_of_a_running_run() -> None:
    entries = [
        entry(answer(RequestKey("toy", "0"), "0", worker="a", at=500.0)),  # an earlier attempt
        entry(answer(RequestKey("toy", "1"), "1", worker="a", at=1950.0)),
        entry(answer(RequestKey("toy", "2"), "2", worker="b", at=1960.0)),
        entry(answer(RequestKey("toy", "2"), "2", worker="a", at=1970.0)),  # delivered twice
        entry(failure(RequestKey("toy", "3"), "cannot read x.png\nTraceback", at=1980.0)),
        entry(failure(RequestKey("toy", "4"), "cannot read x.png", at=1981.0)),
        entry(failure(RequestKey("toy", "5"), "too long", at=1982.0)),
        entry(failure(RequestKey("toy", "6"), "busy", "transient", at=1983.0)),
        entry(answer(RequestKey("toy", "6"), "6", worker="b", at=1990.0)),  # then it worked
    ]
    status = summarise(manifest(), entries, running=True, now=2000.0)
    assert status.state == "running"
    assert status.tasks["toy"].done == 4
    assert status.tasks["toy"].errored == 3
    assert status.finished == 7
    assert status.rate == 8 / 60
    assert status.time_left == 3 / (8 / 60)
    assert status.workers["a"].finished == 3
    assert status.workers["a"].rate == 2 / 60
    assert status.workers["b"].last_seen == 1990.0
    assert [(group.message, group.count) for group in status.errors] == [
        ("SampleError: cannot read x.png", 2),
        ("SampleError: too long", 1),
    ]


def test_a_run_younger_than_a_minute_is_not_made_slow() -> None:
    entries = [entry(answer(RequestKey("toy", str(n)), "0", at=1001.0 + n)) for n in range(5)]
    status = summarise(manifest(), entries, running=True, now=1010.0)
    assert status.rate == 0.5
    assert status.time_left == 10.0


@pytest.mark.parametrize(
    ("attempt", "state"),
    [
        (Attempt(1.0, "local", 2), "interrupted"),  # killed: it never said that it ended
        (Attempt(1.0, "local", 2, ended=2.0, exit_status=143), "interrupted"),
        (Attempt(1.0, "local", 2, ended=2.0, exit_status=0), "complete"),
        (Attempt(1.0, "local", 2, ended=2.0, exit_status=3), "complete"),
        (Attempt(1.0, "local", 2, ended=2.0, exit_status=1), "failed"),
    ],
)
def test_status_of_a_run_that_is_over(attempt: Attempt, state: str) -> None:
    entries = [entry(answer(RequestKey("toy", str(n)), "0", at=10.0 + n)) for n in range(5)]
    status = summarise(manifest(attempt=attempt), entries, running=False, now=99999.0)
    assert status.state == state
    assert status.rate == 5 / 4
    assert status.time_left is None


def test_status_is_read_from_the_folder_while_it_is_locked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ConfigurationError, match="not a run folder"):
        read_status(folder)
    with folder.lock():
        manifest().save(folder.manifest)
        assert read_status(folder).finished == 0  # before the journal exists
        with Journal.open(folder.journal, "r1") as journal:
            journal.append(answer(RequestKey("toy", "1"), "1"))
            journal.flush()
            status = read_status(folder)
    assert status.state == "running"
    assert status.holder is not None
    assert status.holder.pid == os.getpid()
    assert status.finished == 1
    assert read_status(folder).state == "interrupted"


def test_clearing_a_run_forgets_none_of_its_files(tmp_path: Path) -> None:
    # Guards against a file that is left behind: with another run's verdicts in it the next run failed at once.
    folder = RunFolder(tmp_path / "run")
    properties = [name for name, value in vars(RunFolder).items() if isinstance(value, property)]
    paths = {name: value for name in properties if isinstance(value := getattr(folder, name), Path)}
    kept, folders = {"logs", "slurm", "lock_file", "lock_holder"}, {"toolkit_files", "export"}
    with folder.lock():
        for name, path in paths.items():
            if name in folders:
                path.mkdir()
                (path / "submission.json").write_text("x")
            elif name not in kept:
                path.write_text("x")
        folder.log("w").write_text("x")
        folder.clear()
    left = {path.name for path in folder.root.rglob("*") if path.is_file()}
    assert left <= {".lock", ".lock.json"}


def test_a_folder_with_answers_of_other_requests_is_repaired(tmp_path: Path) -> None:
    """A faulty worker had put them there, and the run could never be resumed."""
    plan = toy_plan(3)
    folder = RunFolder(tmp_path)
    folder.create()
    Manifest.describe(run="r", model="m", backend="x", model_args={}, config={}, planned=[plan]).save(
        folder.manifest
    )
    strange = RequestKey("toy", "77", 0)
    with Journal.open(folder.journal, "r") as journal:
        journal.append_many(
            [answer(key, "1") for key in (*keys_of(plan), strange, RequestKey("other", "0", 0))]
        )
    before = folder.journal.read_bytes()
    assert repair_journal(folder, [plan], dry_run=True).dropped == {"toy": 1, "other": 1}
    assert folder.journal.read_bytes() == before
    repair = repair_journal(folder, [plan], dry_run=False)
    assert (repair.kept, repair.examples["toy"]) == (3, strange)
    assert repair.backup is not None
    assert repair.backup.read_bytes() == before
    check_covered(completed_keys(folder.journal), [plan])
    assert not repair_journal(folder, [plan], dry_run=False).needed
