"""Videos on their way to models: as videos to those that take them, as images to the others, to APIs, to `chat`, and to
workers that don't see the files.

Guards against frames in the wrong order or number, times that a model gets wrong, and a choice that nobody is told of.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api_servers import ask as ask_api
from api_servers import chat, serving
from muster.coordinator.media_transfer import probes, with_media
from muster.core import (
    Clip,
    ConfigurationError,
    Generation,
    Media,
    Message,
    Part,
    Request,
    RequestKey,
    SampleError,
    VideoSettings,
)
from muster.media.packed_frames import is_packed
from muster.media.video import load_video
from muster.models.chat.questions import question_of
from muster.models.openai.backend import OpenAIModel
from muster.models.openai.messages import ChatFormat
from muster.models.protocol import ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.preparation import video_arguments
from muster.models.transformers.prompts import takes_videos
from muster.wire.probes import Probe, digest_of, sees
from processes import fake
from tiny_models import model_folder
from tiny_requests import answers, noise
from video_files import number_of, write_frame_folder, write_video


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSTER_FRAME_CACHE", "0")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", 40, rate=10)


def film_media(film: Path, frames: int = 4, **more: Any) -> Media:
    return Media("video", path=str(film), shown=VideoSettings(frames=frames), **more)


def ask(*parts: Media | str, name: str = "s") -> Request:
    given = tuple(Part(text=part) if isinstance(part, str) else Part(media=part) for part in parts)
    return Request(RequestKey("t", name), (Message("user", given),), Generation(max_new_tokens=6))


@pytest.mark.parametrize("preparation", ["thread", "process"])
def test_a_model_without_videos_sees_the_frames_as_images(
    film: Path, tmp_path_factory: pytest.TempPathFactory, preparation: str
) -> None:
    """The same answer as to the same pictures given as images; and the answer says so."""
    folder = str(model_folder("llava", tmp_path_factory))
    model = TransformersModel(ModelSettings(folder, {"preparation": preparation}, batch_size=2))
    try:
        pictures = []
        for frame in load_video(film_media(film)).images():
            buffer = io.BytesIO()
            frame.save(buffer, "PNG")
            pictures.append(Media("image", data=buffer.getvalue()))
        requests = [
            ask(film_media(film), "what?", name="video"),
            ask(*pictures, "what?", name="images"),
            ask(Media("video", path="/no/film.mp4", shown=VideoSettings()), "what?", name="missing"),
        ]
        found = answers(model, requests)
    finally:
        model.close()
    assert found["video"].text == found["images"].text
    assert found["video"].usage == found["images"].usage
    assert found["video"].note == f"video {film}: 4 frames as images"
    assert found["images"].note is None
    assert found["missing"].failure is not None
    assert found["missing"].failure.message == "video /no/film.mp4: does not exist"


def test_what_a_processor_is_told_of_a_videos_times(film: Path) -> None:
    """As qwen-vl-utils has it: of a clip its own frames are the total, and the indices the whole video's."""
    video = load_video(film_media(film, 5, clip=Clip(1.0, 3.0)))
    told = video_arguments([video])
    assert told["do_sample_frames"] is False
    metadata: Any = told["video_metadata"][0]  # type: ignore[index]
    assert metadata["frames_indices"] == [10, 15, 20, 25, 30]
    assert (metadata["fps"], metadata["total_num_frames"], metadata["width"]) == (10.0, 21, 96)
    assert video_arguments([]) == {}


class _Template:
    """A chat template that prints what it knows."""

    video_token = "<video>"
    video_processor: object = object()
    chat_template = "x"

    def __init__(self, known: tuple[str, ...]) -> None:
        self.tokenizer = self
        self._known = known

    def apply_chat_template(self, turns: Any, **_: object) -> str:
        return "".join(f"<{part['type']}>" for part in turns[0]["content"] if part["type"] in self._known)


def test_videos_are_for_processors_that_have_a_part_and_a_place_for_them() -> None:
    able, blind = _Template(("image", "video")), _Template(("image",))
    assert takes_videos(able, able)  # type: ignore[arg-type]
    assert not takes_videos(blind, blind)  # type: ignore[arg-type]
    able.video_processor = None
    assert not takes_videos(able, able)  # type: ignore[arg-type]


def test_videos_cant_be_given_to_a_processor_without_a_part_for_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = str(model_folder("llava", tmp_path_factory))
    with pytest.raises(ConfigurationError, match="video=video: this model's processor has no part"):
        TransformersModel(ModelSettings(folder, {"video": "video", "preparation": "thread"}))
    with pytest.raises(ConfigurationError, match="expected auto, video, frames"):
        TransformersModel(ModelSettings(folder, {"video": "clips"}))


FAMILIES = ("internvl", "llava_onevision", "qwen2_5_vl", "qwen3_vl")


@pytest.mark.parametrize("family", FAMILIES)
def test_families_that_take_videos_get_them(family: str, film: Path, tmp_path: Path) -> None:
    """Real processors and models; alone and in batches the answers are the same."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("video processors of transformers need torchvision")
    from tiny_video_models import VIDEO_FAMILIES

    VIDEO_FAMILIES[family](tmp_path)
    media = [film_media(film, 4), film_media(film, 4, clip=Clip(2.0, 3.5)), film_media(film, 6)]
    requests = [ask(each, "what happens?" * (n + 1), name=str(n)) for n, each in enumerate(media)]
    requests.append(ask(noise(1), film_media(film, 4), "and here?", name="both"))
    args = {"preparation": "thread"}
    alone = answers(TransformersModel(ModelSettings(str(tmp_path), args, batch_size=1)), requests)
    together = answers(TransformersModel(ModelSettings(str(tmp_path), args, batch_size=4)), requests)
    for name, completion in alone.items():
        assert completion.succeeded, completion.failure
        assert completion.note is None
        assert together[name].text == completion.text
    framed = TransformersModel(ModelSettings(str(tmp_path), {**args, "video": "frames"}, batch_size=1))
    [answer] = answers(framed, requests[:1]).values()
    assert answer.note is not None


def test_an_api_gets_frames_as_images(film: Path) -> None:
    with serving(lambda _: chat()) as server:
        model = OpenAIModel(ModelSettings("m", {"base_url": server.url}))
        (completion,) = ask_api(model, ask("First:", film_media(film), "What?"))
    content = server.calls[0].body["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", *["image_url"] * 4, "text"]
    seen = []
    for part in content[1:5]:
        head, data = part["image_url"]["url"].split(",")
        assert head == "data:image/jpeg;base64"
        seen.append(number_of(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))))
    assert seen == [0, 13, 26, 39]
    assert completion.note == f"video {film}: 4 frames as images"


def test_frames_count_as_images_and_files_are_whole(film: Path) -> None:
    with pytest.raises(SampleError, match="8 images, and max_images=4"):
        ChatFormat("m", max_images=4).body(ask(film_media(film, 8)))
    whole = ChatFormat("m", video="video_url")
    [part] = json.loads(whole.body(ask(film_media(film))).body)["messages"][0]["content"]
    assert base64.b64decode(part["video_url"]["url"].split(",")[1]) == film.read_bytes()
    with pytest.raises(SampleError, match="a part of it"):
        whole.body(ask(film_media(film, clip=Clip(1.0, 2.0))))
    with pytest.raises(SampleError, match="sent its frames"):
        whole.body(with_media(ask(film_media(film))))


def test_chat_models_are_asked_as_they_were_trained(film: Path) -> None:
    question = question_of(ask(film_media(film), "What?").messages, ["Frame1: <image>\nFrame2: <image>\n"])
    assert question.text == "Frame1: <image>\nFrame2: <image>\nWhat?"
    assert [media.kind for media in question.media] == ["video"]
    one, two = noise(1), noise(2)
    mixed = question_of(ask(one, "and", two, film_media(film), "?").messages, ["Frame1: <image>\n"])
    assert mixed.text == "Image-1: <image>\nImage-2: <image>\nFrame1: <image>\nand<Image-2>?"


def test_workers_without_the_file_are_sent_the_same_frames(film: Path, tmp_path: Path) -> None:
    for media in (film_media(film, 6), film_media(write_frame_folder(tmp_path / "frames", 9), 3)):
        sent = with_media(ask(media, "What?")).media[0]
        assert sent.path is None
        assert sent.data is not None
        assert is_packed(sent.data)
        assert np.array_equal(load_video(sent).pixels, load_video(media).pixels)
        assert load_video(sent).indices == load_video(media).indices


def test_a_folder_of_frames_is_seen_by_the_names_in_it(tmp_path: Path) -> None:
    folder = write_frame_folder(tmp_path / "frames", 3)
    probe = Probe(str(folder), digest_of(str(folder)))
    assert probe.digest
    assert sees([probe])
    (folder / "2.png").unlink()
    assert not sees([probe])
    assert probes([]) == []


def beside(film: Path, folder: Path) -> Path:
    """The film in a data set's folder, which is where its rows may name it."""
    if film.is_file() and not (folder / film.name).exists():
        os.link(film, folder / film.name)
    return folder / film.name if film.is_file() else film


def benchmark(folder: Path, film: Path, settings: str = "{frames: 4}") -> Path:
    rows: list[dict[str, Any]] = [
        {"id": str(n), "question": "?", "video": str(beside(film, folder)), "answer": "x"} for n in range(3)
    ]
    rows[1] |= {"clip_start": 1.0, "clip_end": 2.0}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "films.yaml"
    task.write_text(f"name: films\nsource: {{file: rows.jsonl}}\nmetric: exact_match\nvideo: {settings}\n")
    return task


def test_a_run_shows_what_the_task_or_the_command_says(film: Path, tmp_path: Path) -> None:
    import muster

    task = benchmark(tmp_path, film)
    run = tmp_path / "run"
    common: dict[str, Any] = {"backend": fake("Looks"), "output": run, "engine": "inline"}
    muster.evaluate("looks", [str(task)], **common)
    texts = [
        json.loads(line)["completion"]["text"]
        for line in (run / "journal.jsonl").read_text().splitlines()[1:]
    ]
    assert texts[0] == "0 images [], 1 videos [(0, 13, 26, 39)]"
    assert "0 images [], 1 videos [(10, 13, 16, 20)]" in texts
    shown = json.loads((run / "manifest.json").read_text())["tasks"]["films"]["fingerprint"]["video"]
    assert (shown["frames"], shown["sampling"]) == (4, "uniform")
    with pytest.raises(ConfigurationError, match=r"tasks\.films\.video\.frames: 4 → 2"):
        muster.evaluate("looks", [str(task)], video={"frames": 2}, **common)


def test_the_manifest_says_how_the_model_got_videos(
    film: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Through the local engine's worker process, which alone knows."""
    import muster

    task = benchmark(tmp_path, film)
    folder = model_folder("llava", tmp_path_factory)
    results = muster.evaluate(
        str(folder), [str(task)], output=tmp_path / "run", engine="local", replicas=1, max_new_tokens=2
    )
    assert results.tasks["films"].samples.succeeded == 3
    [attempt] = json.loads((tmp_path / "run" / "manifest.json").read_text())["attempts"]
    assert attempt["videos"] == "frames"


def test_a_benchmark_without_its_videos_is_told_before_the_model_loads(film: Path, tmp_path: Path) -> None:
    import muster

    task = benchmark(tmp_path, tmp_path / "nowhere" / "film.mp4")
    with pytest.raises(ConfigurationError, match=r"films: none of its videos is there, .*film\.mp4"):
        muster.evaluate("looks", [str(task)], backend=fake("Looks"), output=tmp_path / "run", engine="inline")
    said = {
        "id": "0",
        "question": "?",
        "video": str(beside(film, tmp_path)),
        "subtitles": "srt/0.srt",
        "answer": "x",
    }
    task = benchmark(tmp_path, film, "{frames: 4, subtitles: all}")
    (tmp_path / "rows.jsonl").write_text(json.dumps(said) + "\n")
    with pytest.raises(ConfigurationError, match=r"the folder of its subtitles isn't there, .*0\.srt"):
        muster.evaluate("looks", [str(task)], backend=fake("Looks"), output=tmp_path / "run", engine="inline")
    with pytest.raises(ConfigurationError, match=r"films\.yaml:4: video\.sampling"):
        benchmark(tmp_path, tmp_path, "{sampling: every}")
        muster.evaluate("looks", [str(task)], backend=fake("Looks"), output=tmp_path / "run", engine="inline")
