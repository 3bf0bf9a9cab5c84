"""Which frames a model sees. Guards against being off by one frame, which no score shows and no reader notices.

The expected indices are the toolkits' own (tests/golden/qwen_vl_utils.json), or their formulas written down here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import Clip, ConfigurationError, SampleError, SamplingName, VideoSettings
from muster.media.frame_choice import Size, VideoFacts, choose_frames, frame_size
from muster.tasks.video_settings import overridden

QWEN = json.loads((Path(__file__).parent / "golden" / "qwen_vl_utils.json").read_text())


@pytest.mark.parametrize("case", QWEN["frames"], ids=lambda case: f"{case['frames']}@{case['fps']}")
def test_qwen_vl_utils_indices(case: dict[str, Any]) -> None:
    clip = Clip(*case["clip"]) if case["clip"] else None
    settings = VideoSettings(sampling="qwen", **case["settings"])
    chosen = choose_frames(settings, VideoFacts(case["frames"], case["fps"]), clip)
    if isinstance(case["indices"][-1], list):
        assert [len(chosen), chosen[:20], chosen[-20:]] == case["indices"]
    else:
        assert chosen == case["indices"]


@pytest.mark.parametrize("case", QWEN["sizes"], ids=lambda case: f"{case['width']}x{case['height']}")
def test_qwen_vl_utils_sizes(case: dict[str, Any]) -> None:
    settings = VideoSettings(sampling="qwen", **case["settings"])
    assert frame_size(settings, Size(case["width"], case["height"]), case["frames"]) == tuple(case["size"])


@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33, 1000, 107_892])
def test_lmms_evals_uniform_frames(frames: int) -> None:
    for count in (1, 8, 32, 64):
        expected = np.linspace(0, frames - 1, count, dtype=int).tolist()
        assert choose_frames(VideoSettings(frames=count), VideoFacts(frames, 30.0)) == expected


def internvl_get_index(
    bound: tuple[float, float] | None, fps: float, last: int, first: int, n: int
) -> list[int]:
    """The published formula."""
    start, end = bound or (-100000, 100000)
    begin, until = max(first, round(start * fps)), min(round(end * fps), last)
    size = float(until - begin) / n
    return [int(begin + size / 2 + np.round(size * index)) for index in range(n)]


@given(
    frames=st.integers(2, 20_000),
    fps=st.sampled_from([3.0, 10.0, 24.0, 29.97]),
    n=st.integers(1, 64),
    shares=st.tuples(st.floats(0, 0.9), st.floats(0.05, 1)),
    first=st.sampled_from([0, 1]),
    whole=st.booleans(),
)
def test_internvls_segment_middles(
    frames: int, fps: float, n: int, shares: tuple[float, float], first: int, whole: bool
) -> None:
    seconds = frames / fps
    bound = (shares[0] * seconds, (shares[0] + shares[1]) * seconds)
    if not whole and round(bound[1] * fps) < max(first, round(bound[0] * fps)):
        return
    clip = None if whole else Clip(*bound)
    expected = internvl_get_index(None if whole else bound, fps, frames - 1 + first, first, n)
    settings = VideoSettings(sampling="internvl", frames=n)
    assert choose_frames(settings, VideoFacts(frames, fps, first), clip) == [
        index - first for index in expected
    ]


def test_the_other_conventions_by_hand() -> None:
    video = VideoFacts(100, 10.0)
    # VLMEvalKit: step 100/5 = 20, the inner points; and steps of 10/2 frames for 2 a second
    assert choose_frames(VideoSettings("vlmevalkit", 4), video) == [20, 40, 60, 80]
    assert choose_frames(VideoSettings("vlmevalkit", fps=2), video) == list(range(0, 100, 5))
    # LLaVA-Video: every tenth frame for 1 a second; with at most 4, uniform
    assert choose_frames(VideoSettings("fps", fps=1), video) == list(range(0, 100, 10))
    assert choose_frames(VideoSettings("fps", fps=1, max_frames=4), video) == [0, 33, 66, 99]
    # LongVideoBench: 10 seconds, so 10 frames though 16 were allowed; with 3, int(100/3) apart
    assert choose_frames(VideoSettings("steps", 16), video) == list(range(0, 100, 10))
    assert choose_frames(VideoSettings("steps", 3), video) == [0, 33, 66]


@given(
    sampling=st.sampled_from(get_args(SamplingName)),
    frames=st.integers(1, 100_000),
    fps=st.floats(0.1, 240),
    wanted=st.one_of(
        st.tuples(st.just("frames"), st.integers(2, 64)), st.tuples(st.just("fps"), st.floats(0.1, 4))
    ),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1.5)),
)
def test_indices_are_frames_of_the_video_in_order(
    sampling: SamplingName, frames: int, fps: float, wanted: tuple[str, Any], bounds: tuple[float, float]
) -> None:
    settings = VideoSettings(sampling=sampling, **{wanted[0]: wanted[1]}, max_frames=100)
    seconds = frames / fps
    try:
        chosen = choose_frames(
            settings, VideoFacts(frames, fps), Clip(bounds[0] * seconds, bounds[1] * seconds)
        )
    except SampleError:
        assert bounds[0] >= 1 or bounds[1] < bounds[0] or frames < 3
        return
    assert chosen == sorted(chosen)
    assert 1 <= len(chosen) <= 100
    assert chosen[0] >= 0
    assert chosen[-1] < frames


def test_a_clip_outside_the_video_is_told() -> None:
    for sampling in get_args(SamplingName):
        with pytest.raises(SampleError, match=r"begins at 20 s, and the video ends at 10\.00 s"):
            choose_frames(VideoSettings(sampling), VideoFacts(100, 10.0), Clip(20.0, 30.0))
        with pytest.raises(SampleError, match="before it begins"):
            choose_frames(VideoSettings(sampling), VideoFacts(100, 10.0), Clip(5.0, 3.0))


def test_budgets_scale_frames_down_and_never_up() -> None:
    size = Size(1920, 1080)
    assert frame_size(VideoSettings(), size, 32) == size
    small = frame_size(VideoSettings(max_pixels=100_000), size, 32)
    assert small.width * small.height <= 100_000 < 1.02 * small.width * small.height
    shared = frame_size(VideoSettings(max_pixels=100_000, total_pixels=320_000), size, 32)
    assert shared.width * shared.height <= 10_000
    assert frame_size(VideoSettings(max_pixels=100_000), Size(10, 10), 32) == (10, 10)
    with pytest.raises(SampleError, match="200 to one"):
        frame_size(VideoSettings("qwen"), Size(4000, 10), 32)


def test_a_runs_own_number_of_frames_takes_the_place_of_the_tasks() -> None:
    task = VideoSettings(frames=32, max_pixels=1000, subtitles="frames")
    assert overridden(task, {"fps": 1}) == VideoSettings(fps=1, max_pixels=1000, subtitles="frames")
    assert overridden(task, {"sampling": "qwen"}) == VideoSettings("qwen", subtitles="frames")
    assert overridden(task, {"max_pixels": 5}) == VideoSettings(frames=32, max_pixels=5, subtitles="frames")
    assert overridden(task, {}) is task


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"frame": 3}, "did you mean 'frames'"),
        ({"sampling": "random"}, "sampling=random: expected one of uniform, "),
        ({"subtitles": "yes"}, "subtitles=yes: expected one of none, all"),
        ({"frames": 0}, "frames: 0 is not more than 0"),
        ({"frames": 8, "fps": 1}, "give frames or fps"),
        ({"frames": 1, "sampling": "qwen"}, "in pairs"),
        ({"min_pixels": 5}, "is for sampling qwen"),
        ({"frames": "many"}, "--video frames=many: expected a whole number"),
        ({"frames": 10**12}, "frames: more than 100,000 frames"),
        ({"fps": 1e300, "sampling": "internvl"}, r"fps: 1e\+300 frames a second are more than 1000"),
    ],
)
def test_settings_that_make_no_sense(given_settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        overridden(VideoSettings(), given_settings)
