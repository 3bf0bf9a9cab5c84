"""VLMEvalKit's TSV files: every form that its images take, in small memory, converted once, mistakes by line.

Guards against the gigabytes that every rank of other tools holds, and against images that end up at another row.
"""

from __future__ import annotations

import base64
import csv
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import muster
from catalog_fixtures import picture
from muster.coordinator.media_transfer import media_bytes, needs_files, with_media
from muster.core import (
    ConfigurationError,
    Extent,
    Media,
    Message,
    Part,
    Request,
    RequestKey,
    Sample,
    SampleError,
)
from muster.media import load_image
from muster.media.extents import read_extent, with_extents
from muster.tasks.sources import pack
from muster.tasks.sources.data_folders import BenchmarkFolder
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.tsv import TsvRows
from processes import fake

RED, BLUE, WIDE = picture("8x8 red"), picture("8x8 blue"), picture("90x10 green")
HEADER = (
    "index",
    "image",
    "question",
    "hint",
    "A",
    "B",
    "C",
    "D",
    "answer",
    "category",
    "l2-category",
    "split",
)


def b64(*images: bytes) -> str:
    texts = [base64.b64encode(image).decode() for image in images]
    return texts[0] if len(texts) == 1 else str(texts)


def tsv(file: Path, *rows: Sequence[object], header: Sequence[str] = HEADER) -> Path:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return file


def row(index: object, image: str, answer: str = "B", **more: str) -> list[object]:
    cells = {
        "index": index,
        "image": image,
        "question": "What is it?",
        "A": "one",
        "B": "two",
        "answer": answer,
    }
    return [{**cells, **more}.get(name, "") for name in HEADER]


def source(file: Path) -> MappedSource:
    return MappedSource(TsvRows(BenchmarkFolder(file.parent), file.name))


def load(file: Path) -> list[Sample]:
    return list(source(file).load())


def failure(file: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return str(caught.value).replace(str(file.parent) + "/", "")


def content(media: Media) -> bytes | None:
    return read_extent(media.extent) if media.extent else media.data


@pytest.fixture(params=["in memory", "packed"])
def mode(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    if request.param == "packed":
        monkeypatch.setattr(pack, "PACK_ABOVE", 0)
    return str(request.param)


def test_all_forms_of_images(tmp_path: Path, mode: str) -> None:
    file = tsv(
        tmp_path / "t.tsv",
        row("7", "9"),  # a row further down has the image
        row("8", b64(RED, BLUE)),
        row("9", b64(WIDE), hint="it is wide", **{"l2-category": "shape"}),
        row("10", "8"),
        row("11", f"['{b64(RED)}']"),
        row("12", f"data:image/png;base64,{b64(BLUE)}"),
        row("13", ""),
    )
    samples = {sample.id: sample for sample in load(file)}
    images = {name: [content(media) for media in sample.images] for name, sample in samples.items()}
    assert images == {
        "7": [WIDE],
        "8": [RED, BLUE],
        "9": [WIDE],
        "10": [RED, BLUE],
        "11": [RED],
        "12": [BLUE],
        "13": [],
    }
    assert samples["7"].images[0].identity == samples["9"].images[0].identity, "they are one cluster"
    assert samples["8"].images[0].identity == samples["11"].images[0].identity, (
        "the same bytes are the same image"
    )
    assert dict(samples["9"].metadata) == {"hint": "it is wide", "l2-category": "shape"}
    assert (samples["9"].choices, samples["9"].answers) == (("one", "two"), ("B",))
    assert bool(samples["9"].images[0].extent) == (mode == "packed")
    assert load_image(samples["9"].images[0]).size == (90, 10)


def test_image_paths_where_there_are_no_images(tmp_path: Path, mode: str) -> None:
    (tmp_path / "a.png").write_bytes(RED)
    header = ("index", "image_path", "question", "answer")
    file = tsv(tmp_path / "t.tsv", (1, "a.png", "q", "x"), (2, "['a.png', 'b.png']", "q", "x"), header=header)
    one, two = load(file)
    assert [media.path for media in one.images] == [str(tmp_path / "a.png")]
    assert [media.path for media in two.images] == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_options_that_pandas_would_take_for_missing(tmp_path: Path, mode: str) -> None:
    """VLMEvalKit's `N/A`, `None` and `nan` become NaN: options vanish, and letters shift."""
    file = tsv(tmp_path / "t.tsv", row(1, b64(RED), A="N/A", B="None", C="nan", D="NULL"))
    assert load(file)[0].choices == ("N/A", "None", "nan", "NULL")


def test_mistakes_are_named_by_line(tmp_path: Path, mode: str) -> None:
    good, file = row(1, b64(RED)), tmp_path / "t.tsv"
    assert failure(tsv(file, good, row(2, "3"))).startswith(
        "t.tsv:3: image: '3' is neither base64 nor the index of a row that has an image"
    )
    assert failure(tsv(file, good, row(2, "x" * 65))).startswith("t.tsv:3: image:")
    assert failure(tsv(file, good, row(1, b64(BLUE)))).startswith("t.tsv:3: index: '1' is already the id of")
    assert "answer: 'C' is not one of the letters A to B" in failure(
        tsv(file, row(2, b64(RED), answer="C"))  # one among others costs that sample alone
    )
    assert failure(tsv(file, (1, "q"), header=("id", "question"))).startswith(
        "t.tsv: not a TSV of VLMEvalKit"
    )
    whole = tsv(file, good, row(2, b64(WIDE))).read_text()
    file.write_text(whole[: whole.rindex("What") - 100])  # torn in the middle of an image
    assert failure(file).startswith("t.tsv:3: 2 cells where the header has 12")


def test_a_pack_is_made_once_whoever_asks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "PACK_ABOVE", 0)
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    file = tsv(tmp_path / "t.tsv", *(row(i, b64(os.urandom(3000))) for i in range(50)))
    written: list[Path] = []
    write = pack._write

    def counted(folder: Path, *arguments: object) -> None:
        written.append(folder)
        write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pack, "_write", counted)
    results: list[list[Sample]] = []
    threads = [threading.Thread(target=lambda: results.append(load(file))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert all(result == results[0] for result in results)
    first = source(file).revision()
    tsv(file, row(1, b64(BLUE)))
    assert [content(media) for media in load(file)[0].images] == [BLUE], (
        "a changed file gets a pack of its own"
    )
    assert len(written) == 2
    assert source(file).revision() != first


def test_a_killed_conversion_leaves_nothing_behind_that_counts(tmp_path: Path) -> None:
    """SIGKILL in the middle: the next process starts again and finishes."""
    file = tsv(tmp_path / "t.tsv", *(row(i, b64(os.urandom(2000))) for i in range(300)))
    code = """
import os, sys
from pathlib import Path
from muster.tasks.sources import pack
sys.path.insert(0, sys.argv[2])
import test_source_tsv
pack.PACK_ABOVE = 0
put = pack._MediaWriter._put
def dying(self, content):
    if self.written == 150 and sys.argv[3] == "die":
        self.stream.flush()
        os.kill(os.getpid(), 9)
    return put(self, content)
pack._MediaWriter._put = dying
print(len(test_source_tsv.load(Path(sys.argv[1]))))
"""
    env = {**os.environ, "MUSTER_CACHE": str(tmp_path / "cache")}
    here = str(Path(__file__).parent)
    for how, status, output in (("die", -9, ""), ("live", 0, "300\n")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(file), here, how],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (status, output), done.stderr
    assert not [left for left in (tmp_path / "cache" / "packs").iterdir() if left.name.endswith(".tmp")]


def test_a_large_file_is_converted_in_small_memory(tmp_path: Path) -> None:
    """120 MB of images: the process that loads them must not grow by anything like it."""
    blob = os.urandom(1_000_000)
    file = tsv(tmp_path / "t.tsv", *(row(i, b64(i.to_bytes(4, "big") + blob)) for i in range(90)))
    assert file.stat().st_size > 118_000_000
    code = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_source_tsv
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
samples = test_source_tsv.load(Path(sys.argv[1]))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert len(samples) == 90 and all(media.extent for sample in samples for media in sample.images)
print(grown // 1024)
"""
    env = {**os.environ, "MUSTER_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(file), str(Path(__file__).parent)]
    grown = int(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert grown < 40, f"{grown} MiB"


def test_workers_read_packed_images_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real worker processes decode what the coordinator only has offsets of."""
    monkeypatch.setattr(pack, "PACK_ABOVE", 0)
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    tsv(tmp_path / "t.tsv", *(row(i, b64(picture(f"{10 + i}x20 red"))) for i in range(12)))
    (tmp_path / "t.yaml").write_text("name: packed\nsource: {tsv: t.tsv}\nmetric: multiple_choice\n")
    run = muster.evaluate(
        "looks",
        [str(tmp_path / "t.yaml")],
        backend=fake("Looks"),
        replicas=2,
        engine="local",
        output=tmp_path / "run",
        progress="none",
    )
    assert run.errored == 0
    journal = (tmp_path / "run" / "journal.jsonl").read_text()
    assert all(f"1 images [({10 + i}, 20)]" in journal for i in range(12))


def test_a_worker_without_the_pack_is_sent_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "media.bin").write_bytes(b"before" + RED + b"after")
    packed = Media("image", extent=Extent(str(tmp_path / "media.bin"), 6, len(RED)))
    request = Request(RequestKey("t", "1"), (Message("user", (Part(media=packed), Part(text="?"))),))
    assert needs_files(request)
    assert media_bytes(request) == 0, "nothing travels with it yet"
    [sent] = with_media(request).media
    assert (sent.data, sent.extent) == (RED, None)
    assert with_extents(request).media == (sent,), "as a worker that sees the pack reads it"


def test_a_pack_that_is_gone_costs_its_samples_not_the_run(tmp_path: Path) -> None:
    missing = Media("image", extent=Extent(str(tmp_path / "media.bin"), 0, 10))
    with pytest.raises(SampleError, match="can't be read"):
        load_image(missing)
    (tmp_path / "media.bin").write_bytes(b"short")
    with pytest.raises(SampleError, match="shorter than it was"):
        load_image(missing)
