"""Frames out of real video files. Guards against giving a model another frame than the one that was chosen: after a
seek, with B-frames, at a variable frame rate, in a trimmed or rotated file; and against files that end a run.

Each frame of the test videos carries its own number (tests/video_files.py).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

import muster.media.readers.pyav
import muster.media.video
from muster.core import Clip, Extent, Media, SampleError, VideoSettings
from muster.media.decoded_video import Video
from muster.media.readers.choice import has_torchcodec, reader_name
from muster.media.readers.decoding import decoded_frames
from muster.media.readers.protocol import VideoReader
from muster.media.readers.pyav import PyAvReader
from muster.media.video import load_video
from video_files import HEIGHT, WIDTH, number_of, write_frame_folder, write_video

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="makes its file with ffmpeg")


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 frames, 25 a second, B-frames, a key frame every twelve."""
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", 300)


def numbers(reader: VideoReader, indices: list[int]) -> list[tuple[int, int]]:
    found = [(frame.index, number_of(frame.pixels)) for frame in reader.frames(indices)]
    reader.close()
    return found


def seen(video: Video) -> list[int]:
    return [number_of(frame) for frame in video.pixels]


def shown(path: Path, settings: VideoSettings | None = None, clip: Clip | None = None) -> Video:
    return load_video(Media("video", path=str(path), shown=settings or VideoSettings(), clip=clip))


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


SCATTERED = [0, 1, 11, 12, 13, 40, 41, 59]


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [
        ("a.mp4", "libx264", 2),
        ("a.mkv", "libx264", 3),
        ("a.ts", "libx264", 2),
        ("a.avi", "mpeg4", 0),
        ("a.webm", "libvpx-vp9", 0),
        ("a.h264", "libx264", 2),  # a bare stream, which doesn't say when its frames are seen
    ],
)
def test_indices_are_exact_in_every_container(tmp_path: Path, name: str, codec: str, b_frames: int) -> None:
    path = write_video(tmp_path / name, 60, codec=codec, b_frames=b_frames)
    reader = PyAvReader(path)
    assert (reader.facts.frames, reader.facts.fps, reader.size) == (60, 25.0, (WIDTH, HEIGHT))
    assert numbers(reader, SCATTERED) == [(index, index) for index in SCATTERED]


def test_a_few_frames_of_a_long_video_are_sought_not_decoded_up_to(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = PyAvReader(film)
    decoded = 0
    original = decoded_frames

    def counting(stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        nonlocal decoded
        for frame in original(stream):
            decoded += 1
            yield frame

    monkeypatch.setattr(muster.media.readers.pyav, "decoded_frames", counting)
    assert numbers(reader, [100, 299]) == [(100, 100), (299, 299)]
    assert decoded <= 2 * 14, "two groups of pictures at most"


def test_bytes_and_extents_are_read_like_files(film: Path, tmp_path: Path) -> None:
    content = film.read_bytes()
    packed = tmp_path / "pack"
    packed.write_bytes(b"before" + content + b"after")
    settings = VideoSettings(frames=4)
    expected = seen(shown(film, settings))
    assert expected == [0, 99, 199, 299]
    assert seen(load_video(Media("video", data=content, shown=settings))) == expected
    extent = Extent(str(packed), 6, len(content))
    assert seen(load_video(Media("video", extent=extent, shown=settings))) == expected


def test_variable_frame_rates_count_frames_and_not_time(tmp_path: Path) -> None:
    times = [*range(0, 60, 3), *range(60, 100)]
    path = write_video(tmp_path / "vfr.mp4", 60, times=times)
    assert seen(shown(path, VideoSettings(frames=60))) == list(range(60))
    assert shown(path).fps == pytest.approx(60 / 4, rel=0.05)


def test_videos_of_one_frame_and_of_fewer_than_are_wanted(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.mp4", 1)
    assert seen(shown(one, VideoSettings(frames=4))) == [0, 0, 0, 0]
    assert seen(shown(one, VideoSettings("qwen"))) == [0, 0]
    assert seen(shown(write_video(tmp_path / "three.mp4", 3), VideoSettings(frames=5))) == [0, 0, 1, 1, 2]


def test_a_clip_is_all_that_is_seen(film: Path) -> None:
    video = shown(film, VideoSettings(frames=3), Clip(4.0, 8.0))
    assert seen(video) == [100, 150, 200]
    assert (video.seconds, video.total_frames) == ((4.0, 6.0, 8.0), 101)


@needs_ffmpeg
def test_rotated_videos_are_turned_upright(film: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned.mp4"
    ffmpeg("-i", str(film), "-c", "copy", "-metadata:s:v:0", "rotate=90", str(turned))
    rotation = PyAvReader(turned)
    if rotation.size == (WIDTH, HEIGHT):
        pytest.skip("this ffmpeg writes no rotation that way")
    frame = next(iter(rotation.frames([37]))).pixels
    assert {number_of(np.rot90(frame, 1)), number_of(np.rot90(frame, -1))} >= {37}
    raw = subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-i",
            str(turned),
            "-frames:v",
            "38",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-",
        ],
        check=True,
        capture_output=True,
    )
    upright = np.frombuffer(raw.stdout, np.uint8).reshape(-1, WIDTH, HEIGHT, 3)[37]
    assert np.abs(upright.astype(int) - frame).max() <= 2


@needs_ffmpeg
def test_a_file_that_was_trimmed_without_encoding_begins_where_players_begin(
    film: Path, tmp_path: Path
) -> None:
    trimmed = tmp_path / "trimmed.mp4"
    ffmpeg("-ss", "3.3", "-i", str(film), "-t", "4", "-c", "copy", str(trimmed))
    found = seen(shown(trimmed, VideoSettings(frames=200)))
    assert found == sorted(found)
    assert set(np.diff(found[:-4])) <= {0, 1}, (
        "no frame is left out, but for the B-frames that were cut at the end"
    )
    assert found[0] in (82, 83)


@needs_ffmpeg
def test_sound_alone_is_no_video_not_even_with_a_cover(film: Path, tmp_path: Path) -> None:
    sound, cover, song = tmp_path / "sound.m4a", tmp_path / "cover.jpg", tmp_path / "song.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", str(sound))
    ffmpeg("-i", str(film), "-frames:v", "1", str(cover))
    maps = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic")
    ffmpeg("-i", str(sound), "-i", str(cover), *maps, str(song))
    for path in (sound, song):
        with pytest.raises(SampleError, match="no video in it"):
            shown(path)


@needs_ffmpeg
def test_a_file_that_was_cut_off_is_told_and_not_half_seen(film: Path, tmp_path: Path) -> None:
    whole, matroska, half = tmp_path / "whole.mp4", tmp_path / "whole.mkv", tmp_path / "half"
    ffmpeg("-i", str(film), "-c", "copy", "-movflags", "+faststart", str(whole))
    ffmpeg("-i", str(film), "-c", "copy", str(matroska))
    for path in (whole, matroska):
        content = path.read_bytes()
        half.write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(SampleError, match=r"is cut off: \d\.\d s of 12\.0 s are there"):
            shown(half)


def test_broken_files_are_the_samples_errors(tmp_path: Path, film: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:4000])  # its index would come at the end
    (tmp_path / "folder").mkdir()
    damaged = bytearray(film.read_bytes())
    damaged[3000:8000] = b"\x55" * 5000
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    cases = {
        "empty.mp4": "is an empty file",
        "noise.mp4": "can't be read as a video",
        "cut.mp4": "can't be read as a video",
        "folder": "folder without pictures",
        "missing.mp4": "does not exist",
        "damaged.mp4": "can't be decoded",
    }
    for name, message in cases.items():
        with pytest.raises(SampleError, match=message) as caught:
            shown(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(SampleError, match="address"):
        load_video(Media("video", url="https://example.org/a.mp4"))
    with pytest.raises(SampleError, match="where a video is expected"):
        load_video(Media("image", path=str(film)))


def test_a_playlist_is_no_video(film: Path, tmp_path: Path) -> None:
    """Whoever wrote a data set could make it name any file of the machine that evaluates."""
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n" + str(film) + "\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile '{film}'\n"
    for name, content in (
        ("a.m3u8", playlist),
        ("b.mp4", playlist),
        ("c.mp4", concat),
        ("d.ffconcat", concat),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(SampleError, match="can't be read as a video"):
            shown(tmp_path / name)
    with pytest.raises(SampleError, match="can't be read as a video"):
        load_video(Media("video", data=playlist.encode()))


def test_more_frames_than_memory_should_hold_are_refused_before_they_are_decoded(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(muster.media.video, "MOST_BYTES", 100 * WIDTH * HEIGHT * 3)
    with pytest.raises(SampleError, match=r"101 frames of 96×64 pixels take .* with --video"):
        shown(film, VideoSettings(frames=101))
    assert shown(film, VideoSettings(frames=101, max_pixels=1500)).size == (47, 31)


def test_budgets_leave_the_picture_the_same(film: Path) -> None:
    video = shown(film, VideoSettings(frames=8, max_pixels=48 * 32))
    assert video.pixels.shape == (8, 32, 48, 3)
    assert seen(video) == list(video.indices)
    qwen = shown(film, VideoSettings("qwen", frames=8))
    assert qwen.size.width % 28 == qwen.size.height % 28 == 0
    assert seen(qwen) == list(qwen.indices)


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    """`10.png` comes after `9.png`; and InternVL counts files from 1 where they are numbered so."""
    plain, counted = (
        write_frame_folder(tmp_path / "plain", 12),
        write_frame_folder(tmp_path / "from1", 12, first=1),
    )
    assert seen(shown(plain, VideoSettings(frames=12))) == list(range(12))
    settings = VideoSettings("internvl", 2)
    video = load_video(Media("video", path=str(counted), frame_rate=3.0, clip=Clip(1.0, 3.0), shown=settings))
    # files 3 to 9: segments of 3, whose middles are 4.5 and 7.5; as files 4 and 7 (np.round(3) = 3)
    assert [index + 1 for index in video.indices] == [4, 7]
    assert seen(video) == [3, 6]


def test_torchcodec_gives_the_same_frames(film: Path, tmp_path: Path) -> None:
    if not has_torchcodec():
        pytest.skip("torchcodec isn't there, or doesn't load beside this torch")
    from muster.media.readers.torchcodec import TorchcodecReader

    vfr = write_video(tmp_path / "vfr.mp4", 60, times=[*range(0, 60, 3), *range(60, 100)])
    for path, wanted in ((film, [0, 7, 100, 101, 299]), (vfr, [0, 19, 20, 59])):
        ours, theirs = PyAvReader(path), TorchcodecReader(path)
        assert theirs.facts == ours.facts
        for mine, other in zip(ours.frames(wanted), theirs.frames(wanted), strict=True):
            assert mine.index == other.index
            assert np.array_equal(mine.pixels, other.pixels)


def test_the_reader_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from muster.core import ConfigurationError

    assert reader_name({"MUSTER_VIDEO_READER": "pyav"}) == "pyav"
    with pytest.raises(ConfigurationError, match="expected auto, pyav, torchcodec"):
        reader_name({"MUSTER_VIDEO_READER": "decord"})
