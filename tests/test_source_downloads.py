"""Downloads over a real connection: cut, continued, changed on the way, refused, redirected, or not to be had at all.

Guards against half a file that passes for the whole one, a gigabyte that is fetched again from its first byte, and
messages that leave the user of a cluster without a network guessing which file belongs where.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.core import ConfigurationError
from muster.tasks.sources import archives, http
from muster.tasks.sources.archives import UnsafeArchiveError, unpack
from muster.tasks.sources.downloads import Download, fetch_all, wrong_checksums
from muster.tasks.sources.http import RefusedError, UnreachableError, download
from processes import run_muster
from web_server import Site, serving

CONTENT = bytes(range(256)) * 4000
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {
            "MUSTER_OFFLINE",
            "HF_HUB_OFFLINE",
            "HF_DATASETS_OFFLINE",
        }:
            monkeypatch.delenv(name)


@pytest.fixture
def site() -> Iterator[Site]:
    with serving({"/a/data.bin": CONTENT}) as site:
        yield site


def get(site: Site, folder: Path, path: str = "/a/data.bin") -> bytes:
    return download(site.url(path), folder / "data.bin", sleep=lambda _: None).read_bytes()


def ranges(site: Site) -> list[str | None]:
    return [wanted for _path, wanted in site.requests]


def test_a_cut_connection_is_continued_where_it_broke_off(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 10, 0]
    assert get(site, tmp_path) == CONTENT
    assert ranges(site) == [None, "bytes=300000-", "bytes=300010-", "bytes=300010-"]


def test_what_a_killed_process_left_is_continued(site: Site, tmp_path: Path) -> None:
    site.cut_after = [1000] * http.ATTEMPTS
    site.cut_after[1:] = [0] * http.ATTEMPTS
    with pytest.raises(UnreachableError, match="broke off after 1000 bytes"):
        get(site, tmp_path)
    site.cut_after.clear()
    assert get(site, tmp_path) == CONTENT
    assert ranges(site)[-1] == "bytes=1000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site, tmp_path: Path) -> None:
    site.cut_after = [1000]

    def change() -> None:
        if len(site.requests) == 2:
            site.tag, site.files["/a/data.bin"] = '"v2"', CONTENT[::-1]

    site.on_request = change
    assert get(site, tmp_path) == CONTENT[::-1]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cut_after = False, [300_000]
    assert get(site, tmp_path) == CONTENT


def test_bytes_of_an_unknown_version_are_not_continued(site: Site, tmp_path: Path) -> None:
    site.tag, site.cut_after = None, [300_000]
    assert get(site, tmp_path) == CONTENT
    assert ranges(site) == [None, None]


def test_a_file_that_became_shorter(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000]

    def shrink() -> None:
        site.files["/a/data.bin"] = CONTENT[:1000]

    site.on_request = lambda: shrink() if len(site.requests) == 2 else None
    assert get(site, tmp_path) == CONTENT[:1000]


def test_an_overloaded_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.fail_first = [503, 429]
    assert get(site, tmp_path) == CONTENT


def test_redirects_are_followed_but_not_to_files_of_this_machine(site: Site, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    site.redirects = {"/moved": "/a/data.bin", "/local": f"file://{secret}", "/ftp": "ftp://127.0.0.1/x"}
    assert get(site, tmp_path, "/moved") == CONTENT
    for path in ("/local", "/ftp"):
        with pytest.raises(RefusedError):
            download(site.url(path), tmp_path / "other", sleep=lambda _: None)


def test_the_proxy_of_the_environment_is_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["http://benchmarks.invalid/x.bin"] = CONTENT
    monkeypatch.setenv("http_proxy", site.address)
    assert download("http://benchmarks.invalid/x.bin", tmp_path / "x.bin").read_bytes() == CONTENT


# --- what users are told ------------------------------------------------------------------------------------------


def test_what_is_fetched_has_its_checksum_and_is_fetched_once(site: Site, tmp_path: Path) -> None:
    each = Download(site.url("/a/data.bin"), "sha256", SHA)
    threads = [threading.Thread(target=fetch_all, args=([each], tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(site.requests) == 1
    assert not list(tmp_path.glob("*.part*"))


def test_a_wrong_checksum_keeps_the_file_away(site: Site, tmp_path: Path) -> None:
    each = Download(site.url("/a/data.bin"), "md5", "0" * 32)
    with pytest.raises(ConfigurationError, match=f"its md5 is {hashlib.md5(CONTENT).hexdigest()}, not 00000"):
        fetch_all([each], tmp_path)
    assert not list(tmp_path.glob("data*"))
    (tmp_path / "data.bin").write_bytes(b"placed by hand")
    assert "its md5 is" in wrong_checksums([each], tmp_path)[0]


def test_no_such_file_and_no_network(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="the server says 404") as gone:
        fetch_all([Download(site.url("/gone.tsv"), "sha256", SHA)], tmp_path)
    place = f"Place the file at {tmp_path / 'gone.tsv'} (sha256 {SHA})"
    assert place in str(gone.value)
    monkeypatch.setattr(http, "ATTEMPTS", 1)
    with pytest.raises(ConfigurationError, match=r"can't be downloaded: .*refused") as nobody:
        fetch_all([Download("http://127.0.0.1:9/gone.tsv", "sha256", SHA)], tmp_path)
    assert place in str(nobody.value)


@pytest.mark.parametrize("variable", ["MUSTER_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_means_that_nobody_is_asked(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=f"{variable} is set. Place the file at"):
        fetch_all([Download(site.url("/a/data.bin"))], tmp_path)
    assert site.requests == []


def test_a_task_downloads_its_data_and_runs(site: Site, tmp_path: Path) -> None:
    """From the command line, with a root of its own; the second time, the server isn't asked."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("images/1.txt", "no image, but a file")
    site.files |= {"/s.jsonl": b'{"question": "q", "answer": "x"}\n', "/images.zip": archive.getvalue()}
    (tmp_path / "t.yaml").write_text(
        f"""
name: fetched
metric: exact_match
source:
  data: bench
  file: s.jsonl
  media: images
  rows: 1
  downloads:
    - url: {site.url("/s.jsonl")}
      md5: {hashlib.md5(site.files["/s.jsonl"]).hexdigest()}
    - {{url: {site.url("/images.zip")}, unpack: true}}
"""
    )
    for _ in range(2):
        done = run_muster("tasks", "check", "t.yaml", "--data", "root", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "root" / "bench" / "images" / "1.txt").is_file()
    assert [path for path, _ in site.requests] == ["/s.jsonl", "/images.zip"]


# --- archives -----------------------------------------------------------------------------------------------------


def zipped(file: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file


def tarred(file: Path, members: list[tarfile.TarInfo], data: bytes = b"") -> Path:
    with tarfile.open(file, "w:gz") as content:
        for member in members:
            content.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return file


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def test_archives_are_unpacked(tmp_path: Path) -> None:
    files = {"a/1.jpg": b"one", "a/b/2.jpg": b"two" * 1000, "empty": b""}
    unpack(zipped(tmp_path / "x.zip", files), tmp_path / "zip")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as content:
        for file in sorted((tmp_path / "zip").rglob("*")):
            content.add(file, file.relative_to(tmp_path / "zip").as_posix(), recursive=False)
    unpack(tmp_path / "x.tar.gz", tmp_path / "tar")
    for folder in ("zip", "tar"):
        assert {name: (tmp_path / folder / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "C:\\out", "..\\out", "a\\..\\b"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    for archive in (
        zipped(tmp_path / "x.zip", {"fine": b"x", name: b"y"}),
        tarred(tmp_path / "x.tar.gz", [member("fine"), member(name)]),
    ):
        with pytest.raises(UnsafeArchiveError, match="leads out of the folder"):
            unpack(archive, tmp_path / "here")
    assert not (tmp_path / "here").exists() or not list((tmp_path / "here").iterdir())
    assert not (tmp_path / "out").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with pytest.raises(UnsafeArchiveError, match="is a link or device"):
            unpack(tarred(tmp_path / "x.tar.gz", [member("l", kind, "/etc/passwd")]), tmp_path / "here")
    info = zipfile.ZipInfo("l")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as content:
        content.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeArchiveError, match="is a link"):
        unpack(tmp_path / "x.zip", tmp_path / "here")


def test_a_link_that_is_there_already_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeArchiveError, match="through a link"):
        unpack(zipped(tmp_path / "x.zip", {"a/1.jpg": b"x"}), tmp_path / "here")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1 << 20)
    bomb = zipped(tmp_path / "x.zip", {"zeros": bytes(8 << 20)})
    assert bomb.stat().st_size * archives.MOST_TIMES_LARGER < 8 << 20
    with pytest.raises(UnsafeArchiveError, match="times its own size"):
        unpack(bomb, tmp_path / "here")
    monkeypatch.setattr(archives, "KEPT_FREE", 1 << 60)
    with pytest.raises(UnsafeArchiveError, match="MiB free"):
        unpack(zipped(tmp_path / "y.zip", {"a": b"x"}), tmp_path / "here")


def test_a_tar_is_refused_at_the_member_that_is_too_large_not_behind_it(tmp_path: Path) -> None:
    """To find the next member a compressed tar is decompressed: a bomb would cost minutes, or the memory, before."""
    large = member("zeros", size=1 << 40)
    negative, header = member("below", size=-5), member("pax", tarfile.XHDTYPE, size=1 << 33)
    for name, info, message in (
        ("large", large, "times its own size"),
        ("negative", negative, "below zero"),
        ("header", header, "a header claims to have 8192 MiB"),
    ):
        for compressed in (gzip.compress, bz2.compress, lzma.compress, bytes):
            file = tmp_path / f"{name}.tar"
            file.write_bytes(compressed(info.tobuf(tarfile.GNU_FORMAT) + b"torn"))
            with pytest.raises(UnsafeArchiveError, match=message):
                unpack(file, tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_very_many_members_and_very_deep_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    with pytest.raises(UnsafeArchiveError, match="more than 10 members"):
        unpack(zipped(tmp_path / "x.zip", {f"{n}": b"" for n in range(11)}), tmp_path / "here")
    with pytest.raises(UnsafeArchiveError, match="folders deep"):
        unpack(zipped(tmp_path / "y.zip", {"a/" * 200 + "b": b""}), tmp_path / "here")
    assert not (tmp_path / "here").exists()


def test_broken_archives_leave_nothing_that_looks_whole(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "x.zip", {"1.jpg": os.urandom(10_000)}).read_bytes()
    (tmp_path / "torn.zip").write_bytes(whole[:5000])
    (tmp_path / "flipped.zip").write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    (tmp_path / "page.zip").write_bytes(b"<html>please log in</html>")
    tarred(tmp_path / "t.tar.gz", [member("1.jpg", size=10_000)], os.urandom(10_000))
    (tmp_path / "torn.tar.gz").write_bytes((tmp_path / "t.tar.gz").read_bytes()[:4000])
    for name in ("torn.zip", "flipped.zip", "page.zip", "torn.tar.gz"):
        with pytest.raises(UnsafeArchiveError):
            unpack(tmp_path / name, tmp_path / "here")
        assert not (tmp_path / "here" / "1.jpg").exists(), name


def test_an_archive_is_named_when_it_is_not_unpacked(site: Site, tmp_path: Path) -> None:
    site.files["/x.zip"] = zipped(tmp_path / "made.zip", {"../out": b"x"}).read_bytes()
    with pytest.raises(ConfigurationError, match=r"x\.zip was not unpacked: '\.\./out' leads out"):
        fetch_all([Download(site.url("/x.zip"), unpacked=True)], tmp_path / "d")
