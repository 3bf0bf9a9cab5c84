# ruff: noqa: E501
"""The table's files: how each is made, and which frames a player shows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from benchmarks.videos import changes
from benchmarks.videos.writing import (
    FRAMES,
    H264,
    H264_PLAIN,
    MPEG4_B,
    Coding,
    add_video,
    encoded,
    repacked,
    write,
)

Make = Callable[[Path, Path], object]
"""Writes the first path; the second is a folder for what it is made from."""
ALL = tuple(range(FRAMES))


@dataclass(frozen=True, slots=True)
class Case:
    """One file."""

    name: str
    oddity: str
    make: Make
    shows: Sequence[int] = ALL
    """The numbers of the frames that a player shows, in order."""


def _plain(name: str, oddity: str, coding: Coding = H264, **more: object) -> Case:
    return Case(name, oddity, lambda path, _: write(path, coding, **more))  # type: ignore[arg-type]


def _changed(
    name: str,
    oddity: str,
    change: changes.Change = list,
    coding: Coding = H264,
    *,
    source: str = "source.mp4",
    shows: Sequence[int] = ALL,
    **more: object,
) -> Case:
    def make(path: Path, folder: Path) -> None:
        repacked(write(folder / source, coding), path, change, **more)  # type: ignore[arg-type]

    return Case(name, oddity, make, shows)


CONTAINERS = (
    _plain("h264.mp4", "H.264, B-frames"),
    _plain("h264.mov", "H.264, B-frames"),
    _plain("h264.mkv", "H.264, B-frames"),
    _plain("h264.ts", "H.264, B-frames"),
    _plain("h264.flv", "H.264, B-frames"),
    _plain("bare.h264", "a bare stream: no times at all"),
    _plain("hevc.mp4", "HEVC", Coding("libx265")),
    _plain("hevc.ts", "HEVC", Coding("libx265")),
    _plain("av1.mp4", "AV1", Coding("libsvtav1")),
    _plain("vp9.webm", "VP9 with hidden frames", Coding("libvpx-vp9", options={"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good"})),
    _plain("vp9.ivf", "VP9", Coding("libvpx-vp9")),
    _plain("vp8.webm", "VP8", Coding("libvpx")),
    _plain("mpeg2.mpg", "MPEG-2, program stream", Coding("mpeg2video")),
    _plain("mpeg2.ts", "MPEG-2, transport stream", Coding("mpeg2video")),
    _plain("mpeg2.mxf", "MPEG-2", Coding("mpeg2video")),
    _plain("mpeg4.avi", "MPEG-4", Coding("mpeg4", b_frames=0)),
    _plain("mpeg4-b.avi", "MPEG-4 with B-frames: no times of showing", MPEG4_B),
    _plain("mjpeg.avi", "Motion JPEG, full range", Coding("mjpeg", pixels="yuvj420p")),
    _plain("wmv2.wmv", "Windows Media 8", Coding("wmv2")),
    _plain("flv1.flv", "Sorenson H.263", Coding("flv")),
    _plain("ffv1.mkv", "FFV1", Coding("ffv1")),
    _plain("prores.mov", "ProRes, 10 bits, 4:2:2", Coding("prores_ks", pixels="yuv422p10le")),
    _plain("palette.gif", "GIF", Coding("gif", pixels="rgb8")),
)  # fmt: skip

PICTURES = (
    _plain("10bit.mp4", "H.264, 10 bits", Coding(pixels="yuv420p10le")),
    _plain("10bit-hevc.mp4", "HEVC, 10 bits", Coding("libx265", pixels="yuv420p10le")),
    _plain("444.mp4", "H.264, 4:4:4", Coding(pixels="yuv444p")),
    _plain("rgb.mkv", "H.264, RGB", Coding("libx264rgb", pixels="rgb24")),
    _plain("full.mp4", "full range", Coding(full_range=True)),
    _plain("bt709.mp4", "BT.709, and says so", Coding(matrix=1)),
    _plain("bt601.mp4", "BT.601, and says so", Coding(matrix=6)),
    _plain("bt709.mkv", "BT.709, VP9", Coding("libvpx-vp9", matrix=1)),
    _plain("interlaced.mp4", "interlaced H.264", Coding(options={"x264-params": "tff=1", "flags": "+ildct+ilme"})),
    _plain("interlaced.mpg", "interlaced MPEG-2", Coding("mpeg2video", options={"flags": "+ildct+ilme"})),
    _plain("wide-pixels.mp4", "pixels of 4:3", Coding(aspect=Fraction(4, 3))),
    _plain("odd.mp4", "97×81, 4:4:4", Coding(width=97, height=81, pixels="yuv444p")),
    _plain("odd.webm", "97×81, VP9", Coding("libvpx-vp9", width=97, height=81)),
)  # fmt: skip


def _turned(name: str, oddity: str, way: tuple[int, bool], matrix: tuple[int, int, int, int]) -> Case:
    def make(path: Path, _: Path) -> None:
        changes.shown_by(write(path, way=way), matrix)

    return Case(name, oddity, make)


TURNED = (
    _turned("turned-90.mp4", "turned by 90°", (1, False), (0, 1, -1, 0)),
    _turned("turned-180.mp4", "turned by 180°", (2, False), (-1, 0, 0, -1)),
    _turned("turned-270.mp4", "turned by 270°", (3, False), (0, -1, 1, 0)),
    _turned("mirrored.mp4", "mirrored left and right", (0, True), (-1, 0, 0, 1)),
    _turned("upside-down.mp4", "mirrored top and bottom", (2, True), (1, 0, 0, -1)),
    _turned("transposed.mp4", "mirrored and turned", (1, True), (0, 1, 1, 0)),
    _turned("transversed.mp4", "mirrored and turned the other way", (3, True), (0, -1, -1, 0)),
)

OPEN = Coding(options={"x264-params": "open-gop=1:keyint=12:bframes=3:b-adapt=0"})
LONG = Coding(gop=50)
CUT = (
    _changed("cut.mp4", "cut without encoding: an edit list hides 4 frames", changes.cut(12, at=16), shows=range(16, 50), muxing=changes.KEEP_NEGATIVE),
    _changed("cut-long.mp4", "the same, hides 40 of 50", changes.cut(0, at=40), LONG, shows=range(40, 50), muxing=changes.KEEP_NEGATIVE),
    _changed("cut-open.mp4", "the same, open groups of pictures", changes.cut(9, at=14), OPEN, shows=range(14, 50), muxing=changes.KEEP_NEGATIVE),
    _changed("cut-open.mkv", "begins with frames that can't be decoded", changes.cut(9, at=9), OPEN, shows=range(12, 50)),
    _changed("cut-open.ts", "begins with frames that can't be decoded", changes.cut(9, at=9), OPEN, source="source.ts", shows=range(12, 50)),
    _changed("cut-inside.ts", "begins between two key frames", changes.cut(5, at=5), source="source.ts", shows=range(12, 50)),
    _changed("cut-inside.mkv", "begins between two key frames", changes.cut(5, at=5), shows=range(12, 50)),
    _changed("cut-end.mp4", "ends in the middle of B-frames", lambda packets: packets[:38], shows=range(38)),
    Case("cut-off-a-little.mp4", "the last bytes are missing", lambda path, _: changes.shortened(write(path, muxing={"movflags": "faststart"}), 0.95), range(47)),
)  # fmt: skip

UNEVEN = (*range(0, 75, 3), *range(75, 100))
TIMES = (
    _plain("vfr.mp4", "variable frame rate", times=UNEVEN),
    _plain("vfr.mkv", "variable frame rate", times=UNEVEN),
    _plain("vfr.webm", "variable frame rate, VP9", Coding("libvpx-vp9"), times=UNEVEN),
    _plain("vfr.gif", "variable frame rate", Coding("gif", pixels="rgb8"), times=UNEVEN),
    _plain("pause.mp4", "one frame is seen for 20 seconds", times=(*range(25), *range(525, 550))),
    _plain("live.mkv", "no duration, no index", muxing={"live": "1"}),
    _plain("live.webm", "no duration, no index", Coding("libvpx-vp9"), muxing={"live": "1"}),
    _plain("fragmented.mp4", "fragments", muxing={"movflags": "frag_keyframe+empty_moov"}),
    _plain("fragmented-each.mp4", "a fragment for each frame", muxing={"movflags": "frag_every_frame+empty_moov+default_base_moof"}),
    _plain("negative-offsets.mp4", "composition offsets below zero", muxing={"movflags": "negative_cts_offsets"}),
    _changed("late.mp4", "picture begins 5 s after sound", changes.shifted(5), sound=(0, 7)),
    _changed("late.mkv", "picture begins 5 s after sound", changes.shifted(5), sound=(0, 7)),
    _changed("late.webm", "picture begins 5 s after 0", changes.shifted(5), Coding("libvpx-vp9"), source="source.webm"),
    _changed("late.ts", "picture begins 5 s after sound", changes.shifted(5), sound=(0, 7)),
    _changed("late.avi", "sound of 7 s beside it", coding=Coding("mpeg4", b_frames=0), source="source.avi", sound=(0, 7)),
    _changed("early.mp4", "sound begins 5 s after picture", sound=(5, 7)),
    _changed("early.mkv", "sound begins 5 s after picture", sound=(5, 7)),
    _changed("wrap.ts", "the clock of 33 bits begins anew within it", changes.shifted(95442.7)),
    _changed("coding-order.mp4", "MPEG-4 with B-frames, AVI packed as MP4", changes.in_coding_order, MPEG4_B, source="source.avi"),
    _changed("coding-order.mkv", "the same as MKV", changes.in_coding_order, MPEG4_B, source="source.avi"),
    _changed("coding-order-h264.mp4", "H.264 with B-frames, times in coding order", changes.in_coding_order),
    _changed("same-time.ts", "two frames have one time", changes.twice(20), H264_PLAIN, source="source.ts"),
    _changed("same-time.mkv", "two frames have one time", changes.twice(20), Coding("libvpx"), source="source.webm"),
    _changed("lost.mkv", "frames in the middle were lost", changes.without((17, 19)), Coding("mjpeg", pixels="yuvj420p"), source="source.avi", shows=[n for n in range(50) if n not in (17, 19)]),
    _changed("hidden.webm", "VP8 with frames that are not shown", changes.hidden_keys, Coding("libvpx"), source="source.webm"),
    _changed("packed.avi", "MPEG-4, two frames in one packet (DivX)", changes.packed_b_frames, Coding("mpeg4", b_frames=1, options={"b_strategy": "0"}), source="source.avi"),
    _changed("all-keys.mp4", "all frames are called key frames", changes.all_keys, Coding("mpeg4", b_frames=0)),
    _changed("all-keys.mkv", "all frames are called key frames", changes.all_keys),
    _plain("refresh.mp4", "no key frames but the first (intra refresh)", Coding(b_frames=0, options={"x264-params": "intra-refresh=1:keyint=25"})),
    Case("one.mp4", "one frame", lambda path, _: write(path, frames=1), range(1)),
)  # fmt: skip


def _two_streams(first: bool, cover: bool = False) -> Make:
    """Two streams of pictures; one of them is the default."""

    def make(path: Path, _: Path) -> None:
        import av
        from av.stream import Disposition

        with av.open(str(path), "w") as output:
            other = Coding("mjpeg", pixels="yuvj420p") if cover else H264
            order = (H264, other) if first else (other, H264)
            streams = [add_video(output, coding) for coding in order]
            if not first:
                streams.reverse()
            streams[0].disposition = Disposition.default
            streams[1].disposition = Disposition.attached_pic if cover else Disposition(0)
            packets = encoded(streams[0], H264, ALL)
            packets += encoded(streams[1], other, [500] if cover else [number + 500 for number in ALL])
            for packet in packets:
                output.mux(packet)

    return make


def _joined(suffix: str, clocks: tuple[float, float], coding: Coding = H264) -> Make:
    """Two files, one behind the other, whose clocks begin at some second."""

    def make(path: Path, folder: Path) -> None:
        parts = []
        for place, clock in enumerate(clocks):
            numbers = range(25 * place, 25 * (place + 1))
            source = write(folder / f"{place}-source{suffix}", coding, numbers=numbers)
            parts.append(folder / f"{place}{suffix}")
            repacked(source, parts[-1], changes.shifted(clock))
        changes.joined(path, *parts)

    return make


def _sizes(path: Path, folder: Path) -> None:
    parts = [
        write(folder / f"{place}.ts", coding, numbers=range(25 * place, 25 * (place + 1)))
        for place, coding in enumerate((H264, Coding(width=192, height=160)))
    ]
    changes.joined(path, parts[0], repacked(parts[1], folder / "later.ts", changes.shifted(1)))


STREAMS = (
    Case("second-default.mp4", "two streams, the second is the default", _two_streams(first=False)),
    Case("second-default.mkv", "two streams, the second is the default", _two_streams(first=False)),
    Case("first-default.mp4", "two streams, the first is the default", _two_streams(first=True)),
    Case("cover-first.mp4", "a cover stands before the pictures", _two_streams(first=False, cover=True)),
    Case("cover.mkv", "a cover beside the pictures", _two_streams(first=True, cover=True)),
    Case("joined.ts", "two files joined, the clock begins anew", _joined(".ts", (0, 0))),
    Case("joined-back.ts", "two files joined, the clock goes back", _joined(".ts", (10, 0.02))),
    Case("joined-jump.ts", "two files joined, the clock jumps an hour", _joined(".ts", (0, 3600))),
    Case(
        "joined.mpg", "two files joined, the clock begins anew", _joined(".mpg", (0, 0), Coding("mpeg2video"))
    ),
    Case("two-sizes.ts", "another size from the middle on", _sizes),
)

CASES = (*CONTAINERS, *PICTURES, *TURNED, *CUT, *TIMES, *STREAMS)
