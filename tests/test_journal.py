"""The journal loses nothing but what was damaged, and says what that was."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.core import Completion, ConfigurationError, Failure, RequestKey, RunError, Usage
from muster.results.journal import (
    Journal,
    Record,
    completed_keys,
    inspect_journal,
    latest,
    read_journal,
)
from muster.results.journal_lines import Scan, encode_header, encode_record
from muster.results.journal_read import JournalReader, read_entries
from processes import until

RUN = "r1"


def record(sample: str = "1", text: str | None = "C", *, task: str = "t", at: float = 1.0) -> Record:
    failure = Failure("transient", "TimeoutError", "too slow") if text is None else None
    return Record(Completion(RequestKey(task, sample), text, failure), "rank0", at, 1)


def written(path: Path, records: list[Record]) -> bytes:
    with Journal.open(path, RUN) as journal:
        journal.append_many(records)
    return path.read_bytes()


def joined(text: str | None) -> str | None:
    """Surrogates that happen to stand in pairs are one character once they are written."""
    return None if text is None else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


texts = st.text(st.characters(), max_size=30)  # every code point, lone surrogates too
sane_text = texts.map(lambda text: joined(text) or "")
failures = st.builds(
    Failure,
    st.sampled_from(["sample", "transient", "replica"]),
    sane_text,
    sane_text,
    st.none() | sane_text,
)
completions = st.one_of(
    st.builds(
        Completion,
        st.builds(RequestKey, st.sampled_from(["mme", "digits"]), sane_text, st.integers(0, 3)),
        text=sane_text,
        usage=st.builds(Usage, st.none() | st.integers(0, 10**6), st.none() | st.integers(0, 10**6)),
        seconds=st.none() | st.floats(0, 1e4),
        finish_reason=st.none() | st.sampled_from(["stop", "length"]),
    ),
    st.builds(
        Completion,
        st.builds(RequestKey, st.just("mme"), sane_text, st.integers(0, 3)),
        failure=failures,
    ),
)
records_strategy = st.lists(
    st.builds(Record, completions, sane_text, st.floats(0, 2e9), st.integers(1, 5)), max_size=6
)
on_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@on_one_folder
@given(records=records_strategy)
def test_what_was_appended_is_read_back_whatever_the_texts(tmp_path: Path, records: list[Record]) -> None:
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    content = written(path, records)
    assert list(read_journal(path)) == records
    for line in content.splitlines():
        json.loads(line)  # any tool can read it


@on_one_folder
@given(records=records_strategy, data=st.data())
def test_cut_anywhere_it_keeps_exactly_the_whole_records(
    tmp_path: Path, records: list[Record], data: st.DataObject
) -> None:
    """A machine that loses power leaves any prefix of the file."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    content = written(path, records)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    ends: list[int] = []
    position = len(encode_header(RUN))
    for each in records:
        position += len(encode_record(each))
        ends.append(position - 1)  # intact without its line break
    whole = [each for each, end in zip(records, ends, strict=True) if end <= cut]

    assert list(read_journal(path)) == whole  # before any recovery: a reader beside the dying writer
    with Journal.open(path, RUN) as journal:
        assert journal.recovery.records == len(whole)
        assert journal.recovery.corrupt_lines == ()
        journal.append(record("after"))
    assert list(read_journal(path)) == [*whole, record("after")]
    assert inspect_journal(path).clean


@on_one_folder
@given(records=records_strategy.filter(len), data=st.data())
def test_one_wrong_byte_costs_at_most_its_own_record(
    tmp_path: Path, records: list[Record], data: st.DataObject
) -> None:
    """A bad sector, a stray edit: also when the byte was a line break, or becomes one."""
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    content = bytearray(written(path, records))
    at = data.draw(st.integers(0, len(content) - 1) | st.sampled_from(_line_breaks(content)))
    content[at] = data.draw((st.integers(0, 255) | st.just(10)).filter(lambda byte: byte != content[at]))
    path.write_bytes(content)
    spared: list[Record] = []
    position = len(encode_header(RUN))
    for each in records:
        end = position + len(encode_record(each))
        if not position <= at < end - 1:
            spared.append(each)
        position = end

    assert list(read_journal(path)) == spared
    with Journal.open(path, RUN) as journal:
        assert not journal.recovery.clean
        journal.append(record("after"))
    assert list(read_journal(path)) == [*spared, record("after")]


def _line_breaks(content: bytearray) -> list[int]:
    return [index for index, byte in enumerate(content) if byte == 10]


def test_a_damaged_line_is_reported_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    content = written(path, [record("1"), record("2", "the answer"), record("3")])
    path.write_bytes(content.replace(b"the answer", b"the_answer"))
    with Journal.open(path, RUN) as journal:
        assert journal.recovery.corrupt_lines == (3,)
        assert journal.recovery.torn_bytes == 0
        assert "line 3" in str(journal.recovery)
    assert [each.completion.key.sample_id for each in read_journal(path)] == ["1", "3"]


def test_a_torn_tail_is_cut_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    content = written(path, [record("1")])
    path.write_bytes(content + encode_record(record("2"))[:37])
    with Journal.open(path, RUN) as journal:
        assert journal.recovery.torn_bytes == 37
        assert journal.recovery.records == 1
    assert path.read_bytes() == content


def test_a_tail_of_zeros_is_cut(tmp_path: Path) -> None:
    """What some file systems leave after a power failure: the length was written, the data was not."""
    path = tmp_path / "journal.jsonl"
    content = written(path, [record("1")])
    path.write_bytes(content + bytes(4096))
    with Journal.open(path, RUN) as journal:
        assert journal.recovery.torn_bytes == 4096
        journal.append(record("2"))
    assert list(read_journal(path)) == [record("1"), record("2")]


def test_lone_surrogates_survive(tmp_path: Path) -> None:
    """A tokenizer that decodes half an emoji; strict UTF-8 encoding would have ended the run."""
    path = tmp_path / "journal.jsonl"
    odd = record("\udcff", "half \ud83d of it \x00\r\n\u2028")
    written(path, [record("1"), odd, record("2")])
    assert list(read_journal(path)) == [record("1"), odd, record("2")]
    assert completed_keys(path) == {RequestKey("t", "1"), RequestKey("t", "\udcff"), RequestKey("t", "2")}


@pytest.mark.parametrize(
    "content", [b"id\tquestion\n1\twhat?\n", b"no line end", b"\n", b"{}\n", b"\x00" * 100]
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="not a Muster journal"):
        Journal.open(path, RUN)
    with pytest.raises(ConfigurationError, match="not a Muster journal"):
        list(read_journal(path))
    assert path.read_bytes() == content


def test_a_journal_of_another_run_or_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    content = written(path, [record()])
    with pytest.raises(ConfigurationError, match="belongs to run r1, not to run r2"):
        Journal.open(path, "r2")
    from zlib import crc32

    body = b'{"muster_journal":99,"run":"r1"'
    path.write_bytes(body + b',"crc":"%08x"}\n' % crc32(body))
    with pytest.raises(ConfigurationError, match="newer Muster"):
        Journal.open(path, RUN)
    with pytest.raises(ConfigurationError, match="newer Muster"):
        list(read_journal(path))
    path.write_bytes(content)
    Journal.open(path, RUN).close()


def test_the_first_success_counts_else_the_last_failure(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    history = [
        record("a", None, at=1),
        record("a", "yes", at=2),
        record("a", "no", at=3),
        record("a", None, at=4),
        record("b", None, at=5),
        record("b", None, at=6),
    ]
    written(path, history)
    chosen = latest(read_journal(path))
    assert [each.at for each in chosen.values()] == [2, 6]
    with JournalReader(path) as reader:
        assert reader.get(RequestKey("t", "a")) == history[1]
        assert reader.get(RequestKey("t", "b")) == history[5]
        assert reader.get(RequestKey("t", "c")) is None
        assert reader.succeeded(RequestKey("t", "a"))
        assert not reader.succeeded(RequestKey("t", "b"))
    assert completed_keys(path) == {RequestKey("t", "a")}
    assert completed_keys(path, failed={"transient"}) == {RequestKey("t", "a"), RequestKey("t", "b")}
    assert completed_keys(path, failed={"sample"}) == {RequestKey("t", "a")}
    assert completed_keys(tmp_path / "absent.jsonl") == set()


def test_reading_beside_a_writer_stops_at_a_line_that_is_not_there_yet() -> None:
    """The file ends in half a line; by the next read the writer has added the other half, which is no line."""
    second = encode_record(record("2"))
    reads = [
        encode_header(RUN),
        encode_record(record("1")),
        second[:40],
        second[40:],
        encode_record(record("3")),
    ]
    scan = Scan(cast("BinaryIO", iter(reads)))
    assert [found.line for found in scan] == [encode_record(record("1"))[:-1]]
    assert [damage.torn for damage in scan.damaged] == [True]


WRITER = """
    import sys
    from pathlib import Path
    from muster.core import Completion, RequestKey
    from muster.results.journal import Journal, Record
    journal = Journal.open(Path(sys.argv[1]), "r1")
    number = 0
    while True:
        journal.append(Record(Completion(RequestKey("t", str(number)), "x" * (number % 5000)), "w", 1.0, 1))
        number += 1
        if number % 7 == 0:
            journal.sync()
            print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_synced(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for _ in range(2):  # the second goes on with what the first left
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        promised = 0
        for line in process.stdout:
            promised = int(line)
            if promised >= 700:
                process.send_signal(signal.SIGKILL)
                break
        promised = max([promised, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait()
        process.stdout.close()
        with Journal.open(path, RUN) as journal:
            assert journal.recovery.corrupt_lines == ()
        assert inspect_journal(path).clean
        samples = [each.completion.key.sample_id for each in read_journal(path)]
        assert set(map(str, range(promised))) <= set(samples)


def test_a_killed_writer_loses_nothing_that_it_appended_in_a_burst(tmp_path: Path) -> None:
    """Answers that waited in the process until the next sync were made again after a kill."""
    path = tmp_path / "journal.jsonl"
    script = """
        import sys
        from pathlib import Path
        from muster.core import Completion, RequestKey
        from muster.results.journal import Journal, Record
        journal = Journal.open(Path(sys.argv[1]), "r1")
        for number in range(20):
            journal.append(Record(Completion(RequestKey("t", str(number)), "C"), "w", 1.0, 1))
        print("appended", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "appended\n"
        until(lambda: len(list(read_journal(path))) == 20, "20 records")
    finally:
        process.kill()
        process.communicate()
    assert inspect_journal(path).clean


def test_a_file_that_may_not_grow_is_told_by_the_next_sync_and_by_closing(tmp_path: Path) -> None:
    """Handing an answer over at once may fail too: the coordinator hears of it where it asks."""
    path = tmp_path / "journal.jsonl"
    script = """
        import resource, sys, time
        from pathlib import Path
        from muster.core import Completion, RequestKey, RunError
        from muster.results.journal import PROMPT_SECONDS, Journal, Record
        journal = Journal.open(Path(sys.argv[1]), "r1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for number in range(3):
            time.sleep(2 * PROMPT_SECONDS)
            journal.append(Record(Completion(RequestKey("t", str(number)), "x" * 90), "w", 1.0, 1))
        for ask in (journal.close,) if sys.argv[2] == "close" else (journal.sync, journal.sync):
            try:
                ask()
            except RunError as error:
                print(error)
    """
    for way, told in (("close", 1), ("sync", 2)):
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / f"{way}-{path.name}"), way]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(os.strerror(errno.EFBIG)) == told


def test_a_file_that_may_not_grow_keeps_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    """A quota: the write stops in the middle of a line."""
    path = tmp_path / "journal.jsonl"
    script = """
        import resource, sys
        from pathlib import Path
        from muster.core import Completion, RequestKey, RunError
        from muster.results.journal import Journal, Record
        journal = Journal.open(Path(sys.argv[1]), "r1")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            for number in range(1000):
                journal.append(Record(Completion(RequestKey("t", str(number)), "x" * 90), "w", 1.0, 1))
            journal.sync()
        except RunError as error:
            print(error)
        size = Path(sys.argv[1]).stat().st_size
        assert 9_500 < size <= 10_000, size
        journal.close()
        assert Path(sys.argv[1]).stat().st_size == size
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert os.strerror(errno.EFBIG) in done.stdout
    assert f"--output {tmp_path}" in done.stdout
    recovery = inspect_journal(path)
    assert recovery.clean
    numbers = [int(each.completion.key.sample_id) for each in read_journal(path)]
    assert numbers == list(range(recovery.records))
    assert numbers


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "disk"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.root
def test_a_full_disk_keeps_whole_lines_and_goes_on_once_there_is_room(small_disk: Path) -> None:
    path = small_disk / "journal.jsonl"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(40_000))
    journal = Journal.open(path, RUN)
    records = [record(str(number), "x" * 300) for number in range(100)]
    with pytest.raises(RunError, match="No space left on device"):  # it fails at one of them
        for each in records:
            journal.append(each)
            journal.flush()
    kept = list(read_journal(path))
    assert kept == records[: len(kept)]
    assert kept
    assert inspect_journal(path).clean
    ballast.unlink()
    journal.close()  # what had not fitted is still there to be written
    assert list(read_journal(path)) == records[: len(kept) + 1]


def test_a_journal_that_cannot_be_made_is_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot write the journal"):
        Journal.open(tmp_path / "absent" / "journal.jsonl", RUN)
    with pytest.raises(RunError):
        Journal.open(tmp_path, RUN)


def test_entries_carry_who_when_and_why(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    written(path, [record("1"), record("2", None, at=2.5)])
    first, second = read_entries(path)
    assert first.completion.failure is None
    assert (second.worker, second.at) == ("rank0", 2.5)
    assert second.completion.failure is not None
    assert second.completion.failure.message == "too slow"


def test_appends_from_several_threads_stay_whole(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "journal.jsonl"
    with Journal.open(path, RUN) as journal, ThreadPoolExecutor(4) as pool:

        def work(thread: int) -> None:
            for number in range(300):
                journal.append(record(f"{thread}-{number}", "x" * 500))
                if number % 50 == 0:
                    journal.sync()

        list(pool.map(work, range(4)))
    assert inspect_journal(path).clean
    assert len({each.completion.key for each in read_journal(path)}) == 1200


def test_a_whole_record_with_garbage_right_behind_it_is_kept(tmp_path: Path) -> None:
    """Its line break and the beginning of the next line were written over; the record's own bytes are all there."""
    path = tmp_path / "journal.jsonl"
    content = written(path, [record(str(number)) for number in range(4)])
    lines = content.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:-1], b"\x00garbage", lines[3][9:], lines[4]]))
    assert [each.completion.key.sample_id for each in read_journal(path)] == ["0", "1", "3"]
