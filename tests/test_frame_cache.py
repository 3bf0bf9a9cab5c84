"""Frames that are kept on disk. Guards against frames of another file, of other settings or of a write that was torn,
and against a cache that fills the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from muster.core import Clip, ConfigurationError, Media, SampleError, VideoSettings
from muster.media import frame_cache, video
from muster.media.decoded_video import Video
from muster.media.packed_frames import MAGIC, is_packed, pack, unpack
from muster.media.video import load_video
from processes import DEADLINE
from video_files import number_of, write_video


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the default size."""
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MUSTER_FRAME_CACHE", raising=False)
    return tmp_path / "cache" / "frames"


def media_of(path: Path, frames: int = 4, **more: object) -> Media:
    return Media("video", path=str(path), shown=VideoSettings(frames=frames), **more)  # type: ignore[arg-type]


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_decoded_is_not_decoded_again(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = media_of(write_video(tmp_path / "v.mp4", 20))
    first = load_video(media)
    assert len(files(kept)) == 1

    def refuse(*_: object) -> None:
        raise AssertionError("it was decoded again")

    monkeypatch.setattr(video, "_read", refuse)
    again = load_video(media)
    assert np.array_equal(again.pixels, first.pixels)
    assert (again.indices, again.fps, again.total_frames) == (first.indices, first.fps, first.total_frames)


def test_another_file_clip_or_setting_is_another_video(kept: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 50)
    (tmp_path / "v.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhi\n")
    said = VideoSettings(frames=4, subtitles="all")
    for media in (
        media_of(path),
        media_of(path, 5),
        media_of(path, clip=Clip(0.0, 1.0)),
        Media("video", path=str(path), shown=said, subtitles=str(tmp_path / "v.srt")),
    ):
        load_video(media)
    assert len(files(kept)) == 4
    write_video(path, 30)
    assert load_video(media_of(path)).indices == (0, 9, 19, 29)
    assert len(files(kept)) == 5


def test_a_torn_or_foreign_file_is_read_from_the_video_again(kept: Path, tmp_path: Path) -> None:
    media = media_of(write_video(tmp_path / "v.mp4", 20))
    load_video(media)
    [file] = files(kept)
    for content in (b"", b"something else", file.read_bytes()[:-100], MAGIC + b"\xc1"):
        file.write_bytes(content)
        assert [number_of(frame) for frame in load_video(media).pixels] == [0, 6, 12, 19]
    assert [path.suffix for path in files(kept)] == [".frames"], "nothing temporary stays"


def test_the_oldest_make_room(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_video(tmp_path / f"{number}.mp4", 20 + number) for number in range(4)]
    load_video(media_of(paths[0]))
    [first] = files(kept)
    monkeypatch.setenv("MUSTER_FRAME_CACHE", str(2.5 * first.stat().st_size / 1e9))
    os.utime(first, (1, 1))
    load_video(media_of(paths[1]))
    load_video(media_of(paths[2]))
    assert len(files(kept)) <= 2
    assert not first.exists()
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0")
    load_video(media_of(paths[3]))
    assert len(files(kept)) <= 2, "nothing is kept"
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "plenty")
    with pytest.raises(ConfigurationError, match="MUSTER_FRAME_CACHE=plenty"):
        frame_cache.limit_bytes()


def test_a_cache_that_cant_be_written_costs_time_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MUSTER_FRAME_CACHE", raising=False)
    assert len(load_video(media_of(write_video(tmp_path / "v.mp4", 20))).pixels) == 4


def test_packed_frames_are_the_frames(kept: Path, tmp_path: Path) -> None:
    shown = load_video(media_of(write_video(tmp_path / "v.mp4", 3), 5))
    content = pack(shown)
    assert is_packed(content)
    again = unpack(content)
    assert np.array_equal(again.pixels, shown.pixels)
    assert again.indices == (0, 0, 1, 1, 2)
    with pytest.raises(SampleError, match="packed frames"):
        unpack(content[:-1])


def counted(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[str]:
    """The paths that are decoded from now on, each in so many seconds."""
    decoded: list[str] = []
    decode = video._read

    def slowly(media: Media, settings: VideoSettings) -> Video:
        decoded.append(str(media.path))
        time.sleep(seconds)
        return decode(media, settings)

    monkeypatch.setattr(video, "_read", slowly)
    return decoded


def test_of_several_that_want_a_video_one_decodes_it(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against sixteen workers of a machine that each decode the same hour."""
    decoded = counted(monkeypatch, 0.3)
    media = [media_of(write_video(tmp_path / f"{number}.mp4", 20)) for number in range(2)]
    with ThreadPoolExecutor(8) as pool:
        indices = list(pool.map(lambda each: load_video(each).indices, media * 4))
    assert set(indices) == {(0, 6, 12, 19)}
    assert sorted(decoded) == sorted(str(each.path) for each in media)
    assert [path.suffix for path in files(kept)] == [".frames"] * 2, "no lock stays"


def test_what_is_too_much_to_keep_is_not_waited_for_twice(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0.000000001")
    decoded = counted(monkeypatch, 0.3)
    together = threading.Barrier(4, timeout=DEADLINE)
    started: list[float] = []
    decode = video._read

    def meeting(media: Media, settings: VideoSettings) -> Video:
        started.append(time.monotonic())
        if len(started) > 1:  # those that waited for the first decode at the same time, or this breaks
            together.wait()
        return decode(media, settings)

    monkeypatch.setattr(video, "_read", meeting)
    media = media_of(write_video(tmp_path / "v.mp4", 20))
    with ThreadPoolExecutor(5) as pool:
        assert (
            len({load.result().indices for load in [pool.submit(load_video, media) for _ in range(5)]}) == 1
        )
    assert len(decoded) == 5


def test_a_lock_that_was_left_behind_keeps_nobody_waiting(kept: Path, tmp_path: Path) -> None:
    media = media_of(write_video(tmp_path / "v.mp4", 20))
    load_video(media)
    [frames] = files(kept)
    frames.unlink()
    frames.with_suffix(".lock").touch()
    assert load_video(media).indices == (0, 6, 12, 19)
    assert files(kept) == [frames]


def test_a_process_that_dies_while_it_decodes_lets_the_others_go_on(kept: Path, tmp_path: Path) -> None:
    media = media_of(write_video(tmp_path / "v.mp4", 20))
    code = (
        "import sys, time; from muster.core import Media, VideoSettings; from muster.media import frame_cache\n"
        f"with frame_cache.reading(Media('video', path={media.path!r}, shown=VideoSettings(frames=4))):\n"
        "    print('decoding', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "decoding\n"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(load_video, media)
            time.sleep(0.2)
            assert not waiting.done()
            process.kill()
            assert waiting.result(60).indices == (0, 6, 12, 19)
