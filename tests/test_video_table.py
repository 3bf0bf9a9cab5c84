"""The frames that are shown of odd video files. Guards against a model that silently gets the neighbour of the frame
that was chosen, a picture that is mirrored or grey, or an error in place of a video that every player shows.

The files are those of `python -m benchmarks.videos`, which compares with a player, decord, torchcodec and OpenCV; what
a player shows of each stands in `benchmarks/videos/cases.py`.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from benchmarks.videos import changes
from benchmarks.videos.cases import CASES, Case
from benchmarks.videos.shown import told
from benchmarks.videos.tools import shown_by
from benchmarks.videos.writing import Coding, repacked, write
from muster.core import Media, SampleError, VideoSettings
from muster.media.containers import HEAD, video_type
from muster.media.readers.choice import has_torchcodec
from muster.media.readers.packet_index import read_index
from muster.media.readers.upright import DisplayMatrix
from muster.media.video import load_video

TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".ts": "video/mp2t",
    ".mpg": "video/mpeg",
    ".avi": "video/x-msvideo",
    ".flv": "video/x-flv",
    ".wmv": "video/x-ms-asf",
    ".mxf": "application/mxf",
    ".ivf": "video/x-ivf",
    ".gif": "image/gif",
}


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0")
    monkeypatch.setenv("MUSTER_VIDEO_READER", "pyav")


def written(case: Case, tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir(exist_ok=True)
    try:
        case.make(tmp_path / case.name, tmp_path / "parts")
    except av.codec.codec.UnknownCodecError as error:
        pytest.skip(f"this PyAV can't encode {error}")
    return tmp_path / case.name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_players_show(case: Case, tmp_path: Path) -> None:
    """All frames in order, upright and in their colours; and eight of them that are sought alone."""
    path = written(case, tmp_path)
    assert told(shown_by("muster", path), case.shows) == "="
    assert video_type(path.read_bytes()[:HEAD]) == TYPES.get(path.suffix), (
        "by which it may be sent to a server"
    )


def test_torchcodec_shows_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_torchcodec():
        pytest.skip("torchcodec isn't there, or doesn't load beside this torch")
    monkeypatch.setenv("MUSTER_VIDEO_READER", "torchcodec")
    for case in CASES:
        path = written(case, tmp_path)
        assert told(shown_by("muster", path), case.shows) == "=", case.name


@pytest.mark.parametrize("late", [0.5, 5, 100])
def test_an_mkv_whose_picture_begins_late_is_whole_and_is_cut_off_when_it_is(
    tmp_path: Path, late: float
) -> None:
    """The tag DURATION that FFmpeg writes counts from zero, not from the first picture."""
    source = write(tmp_path / "source.mp4", Coding(gop=12), 100)
    path = repacked(source, tmp_path / "late.mkv", changes.shifted(late), sound=(0, 1))
    assert len(load_video(Media("video", path=str(path), shown=VideoSettings(frames=100))).pixels) == 100
    changes.shortened(path, 0.6)
    with pytest.raises(SampleError, match=r"is cut off: \d\.\d s of 4\.0 s are there"):
        load_video(Media("video", path=str(path)))


def test_frames_are_chosen_anew_when_they_had_to_be_counted(tmp_path: Path) -> None:
    """The packets promise frames in the middle that no decoder gives: half of a film isn't to be shown."""

    def hidden(packet: Any) -> Any:
        data = bytes(packet)
        return changes.like(packet, bytes([data[0] & ~0x10]) + data[1:], key=False)  # VP8's show_frame

    def with_hidden_frames(packets: changes.Packets) -> changes.Packets:
        return [
            packet if place < 20 or place % 2 == 0 else hidden(packet) for place, packet in enumerate(packets)
        ]

    source = write(tmp_path / "source.webm", Coding("libvpx", options={"lag-in-frames": "0"}, gop=1))
    path = repacked(source, tmp_path / "holes.webm", with_hidden_frames)
    video = load_video(Media("video", path=str(path), shown=VideoSettings(frames=8)))
    assert list(video.indices) == [0, 4, 9, 14, 19, 24, 29, 34]


def test_an_error_of_the_last_packet_is_passed_over_and_of_others_is_damage(tmp_path: Path) -> None:
    def broken(place: int) -> changes.Change:
        def change(packets: changes.Packets) -> changes.Packets:
            packets[place] = changes.like(packets[place], bytes(packets[place])[:30])
            return packets

        return change

    source = write(tmp_path / "source.mp4", Coding(b_frames=0))
    last = repacked(source, tmp_path / "last.mkv", broken(-1))
    assert load_video(Media("video", path=str(last), shown=VideoSettings(frames=2))).indices == (0, 48)
    middle = repacked(source, tmp_path / "middle.mkv", broken(30))
    with pytest.raises(SampleError, match="can't be decoded: the file is damaged"):
        load_video(Media("video", path=str(middle), shown=VideoSettings(frames=50)))


def test_a_stream_that_says_it_reorders_and_has_times_in_coding_order_is_counted(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4")
    odd = repacked(plain, tmp_path / "odd.mp4", changes.in_coding_order)
    for path, known in ((plain, True), (odd, False)):
        with av.open(str(path)) as container:
            assert bool(read_index(container.streams.video[0]).times) is known


def test_a_matrix_of_any_scale_that_changes_nothing_is_known_as_such() -> None:
    assert DisplayMatrix(1 << 16, 0, 0, 1 << 16).as_stored
    assert not DisplayMatrix(-(1 << 16), 0, 0, 1 << 16).as_stored
    assert not DisplayMatrix(0, 1 << 16, -(1 << 16), 0).as_stored


def test_pixels_that_are_not_square_are_left_as_they_are_stored(tmp_path: Path) -> None:
    """As every toolkit has them."""
    path = write(tmp_path / "wide.mp4", Coding(aspect=Fraction(2, 1)), 3)
    assert load_video(Media("video", path=str(path))).size == (96, 80)
