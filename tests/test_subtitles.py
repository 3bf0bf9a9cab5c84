"""What is said in a video. Guards against subtitles that are shown at the wrong frames, or given with their markup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from muster.core import Media, Message, Part, SampleError, VideoSettings
from muster.media.decoded_video import Video
from muster.media.opening import frame_sequence, open_prompt, said_in
from muster.media.subtitles import Cue, interleaved, load_subtitles, parse_json, parse_srt, spoken_at
from muster.media.video import load_video
from video_files import write_video

SRT = """\
1
00:00:00,000 --> 00:00:01,000
<font color="white" size=".72c">Hello,
there</font>

2
00:00:01,500 --> 00:00:02,250 X1:0
<i>you</i> {\\an8}two

3
01:02:03,004 --> 01:02:04,000

4
00:00:05.000 --> 00:00:06.000
x < y
"""


def test_srt_without_its_markup() -> None:
    assert parse_srt(SRT) == (
        Cue(0.0, 1.0, "Hello, there"),
        Cue(1.5, 2.25, "you two"),
        Cue(5.0, 6.0, "x < y"),
    )
    assert parse_srt("\n\nWEBVTT\n\n01:02.5 --> 01:03.25\nHi\n") == (Cue(62.5, 63.25, "Hi"),)
    # No empty line between two cues: the number isn't spoken.
    assert parse_srt("1\n0:0:1,0 --> 0:0:2,0\na\n2\n0:0:3,0 --> 0:0:4,0\nb") == (
        Cue(1, 2, "a"),
        Cue(3, 4, "b"),
    )
    assert parse_srt("no subtitles at all") == ()


def test_longvideobenchs_two_forms() -> None:
    clock = '[{"start": "00:01:00.500", "end": "00:01:02.000", "line": "one"}]'
    assert parse_json(clock) == (Cue(60.5, 62.0, "one"),)
    seconds = '[{"timestamp": [1.5, 2], "text": "one"}, {"timestamp": [3, null], "text": "two"}]'
    assert parse_json(seconds) == (Cue(1.5, 2, "one"), Cue(3, float("inf"), "two"))
    for wrong in ("{}", '[{"text": "one"}]', "[", '[{"start": "x", "end": "y", "line": "z"}]'):
        with pytest.raises(SampleError, match="LongVideoBench"):
            parse_json(wrong)


def test_a_video_without_a_file_has_none(tmp_path: Path) -> None:
    assert load_subtitles(str(tmp_path / "none.srt")) == ()


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1", SRT.encode("utf-16")])
def test_a_file_of_something_else_is_no_video_in_which_nobody_speaks(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.srt").write_bytes(content)
    with pytest.raises(SampleError, match=r"odd\.srt: not SRT or WebVTT"):
        load_subtitles(str(tmp_path / "odd.srt"))
    for empty in ("", "\n", "WEBVTT\n"):
        (tmp_path / "silent.vtt").write_text(empty)
        assert load_subtitles(str(tmp_path / "silent.vtt")) == ()
        load_subtitles.cache_clear()


def test_what_is_spoken_while_a_frame_is_seen() -> None:
    cues = [Cue(0.0, 1.0, "a"), Cue(1.0, 1.04, "b"), Cue(2.0, 3.0, "c")]
    assert [cue.text for cue in spoken_at(cues, [0, 24], 25.0)] == ["a"]
    assert [cue.text for cue in spoken_at(cues, [25, 60, 61], 25.0)] == ["b", "c"]
    assert spoken_at(cues, [49, 75], 25.0) == []


def test_subtitles_between_frames_as_longvideobench_lays_them() -> None:
    cues = [
        Cue(0.5, 1.5, "first"),
        Cue(2.2, 2.6, "short"),
        Cue(3.4, 3.5, "unseen"),
        Cue(7.0, float("inf"), "last"),
    ]
    # frames at 0, 1, 2, 8 seconds; "short" counts for a second around 2.4
    assert interleaved(cues, [0.0, 1.0, 2.0, 8.0], 10.0) == [0, 1, "first", 2, "short", 3, "last"]
    assert interleaved([], [0.0, 1.0], 2.0) == [0, 1]


def video_of(cues: tuple[Cue, ...]) -> Video:
    return Video(np.zeros((3, 4, 4, 3), np.uint8), (0, 10, 20), 10.0, 30, cues)


def test_the_text_around_the_frames() -> None:
    cues = (Cue(0.0, 0.5, "a"), Cue(1.4, 1.6, "b"))
    said = VideoSettings(subtitles="frames", before_subtitles="Said:\n", without_subtitles="nothing")
    assert said_in(video_of(cues), said) == "Said:\na\n"
    assert said_in(video_of(()), said) == "Said:\nnothing\n"
    assert said_in(video_of(cues), VideoSettings(subtitles="all")) == "a\nb\n"
    assert said_in(video_of(cues), VideoSettings()) == ""
    assert list(frame_sequence(video_of(()), VideoSettings(), "internvl")) == [
        *("Frame1: ", 0, "\n"),
        *("Frame2: ", 1, "\n"),
        *("Frame3: ", 2, "\n"),
    ]


def test_subtitles_reach_the_prompt_on_the_videos_clock(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", 30, rate=10)
    (tmp_path / "v.srt").write_text("1\n00:01:41,000 --> 00:01:42,000\nhello\n")
    media = Media(
        "video",
        path=str(path),
        subtitles=str(tmp_path / "v.srt"),
        subtitles_from=100.0,
        shown=VideoSettings(frames=4, subtitles="frames"),
    )
    assert load_video(media).subtitles == (Cue(1.0, 2.0, "hello"),)
    asked = [Message("user", (Part(media=media), Part(text="What?")))]
    opened = open_prompt(asked, takes_videos=True)
    assert [part.text for part in opened.messages[0].parts] == [None, "hello\n", "What?"]
    assert (len(opened.visuals), opened.note) == (1, None)
    framed = open_prompt(asked, takes_videos=False)
    assert [part.text for part in framed.messages[0].parts] == [None, None, None, None, "hello\n", "What?"]
    assert len(framed.visuals) == 4
    assert framed.note is not None
    assert "4 frames as images" in framed.note
