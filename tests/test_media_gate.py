"""Which files data may name: a row is written by others, and what it names may be sent to a server.

Guards against files outside of the data's folder (by their path, by `..`, through a link, in a folder of frames),
against pipes and devices, which would be waited for without an end, and against refusing what the user wants.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from api_servers import question
from muster.coordinator.media_transfer import probes, with_media
from muster.core import ConfigurationError, Extent, Generation, Media, SampleError
from muster.media import load_image
from muster.media.extents import with_extents
from muster.media.gate import VARIABLE, confined, media_file, open_media, read_media_file
from muster.media.images import image_size
from muster.media.video import load_video
from muster.models.api.images import ImageLimits, encode_image
from muster.models.api.prompts import read_video
from muster.models.openai.messages import ChatFormat
from muster.tasks.checking import check_task
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.tasks.reach import check_reach
from muster.tasks.sources.data_folders import DataFolders
from muster.tasks.sources.native import NativeSource
from muster.tasks.task_file import load_task_file
from muster.wire.probes import sees
from test_media_transfer import planned
from toy_task import ToyMetric, ToyPrompt, ToySource


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A picture beside the data's folder `data`, which the test may lead to."""
    (tmp_path / "data").mkdir()
    file = tmp_path / "secret.png"
    Image.new("RGB", (4, 4), "red").save(file)
    return file


def named(folder: Path, name: str, kind: str = "image") -> Media:
    """What the data file of a folder names."""
    file = folder / "d.jsonl"
    file.write_text(f'{{"question": "q", "{kind}": "{name}"}}\n')
    [sample] = NativeSource(file).load()
    return (*sample.images, *sample.videos)[0]


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.png", "a/../../secret.png", "{secret}"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_path_out_of_the_datas_folder_is_refused_before_anything_runs(
    secret: Path, name: str, kind: str
) -> None:
    file = secret.parent / "data" / "d.jsonl"
    media = named(file.parent, name.format(secret=secret), kind)
    samples = NativeSource(file).load()
    task = Task("t", 1, ToySource(samples), ToyPrompt(), ToyMetric())
    told = "task t, sample 0: .* is outside of the data's folder"
    with pytest.raises(ConfigurationError, match=told):
        check_reach([PlannedTask(task, samples, Generation())])
    assert any("outside of the data's folder" in problem for problem in check_task(task, 0).problems)
    with pytest.raises(SampleError, match="outside of"):
        load_image(media) if kind == "image" else load_video(media)


def _through_a_link(data: Path, secret: Path) -> Media:
    (data / "a.png").symlink_to(secret)
    return named(data, "a.png")


def _through_a_linked_folder(data: Path, secret: Path) -> Media:
    (data / "images").symlink_to(secret.parent)
    return named(data, "images/secret.png")


@pytest.mark.parametrize("lead", [_through_a_link, _through_a_linked_folder])
def test_a_link_out_of_the_datas_folder_is_refused_by_whatever_opens_it(
    secret: Path, lead: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(lead)
    media = lead(secret.parent / "data", secret)
    message = f"leads to {secret}, which is outside of"
    with pytest.raises(SampleError, match=message):
        load_image(media)
    with pytest.raises(SampleError, match=message):
        encode_image(media, ImageLimits())
    with pytest.raises(SampleError, match=message):
        with_media(question(media=(media,)))
    with pytest.raises(SampleError, match=message):
        image_size(media)
    monkeypatch.setenv(VARIABLE, f"/nowhere{os.pathsep}{secret.parent}")
    assert load_image(media).size == (4, 4)


def test_a_video_is_not_sent_from_elsewhere_nor_are_its_frames_or_subtitles(secret: Path) -> None:
    data = secret.parent / "data"
    (data / "v.mp4").symlink_to(secret)
    film = named(data, "v.mp4", "video")
    with pytest.raises(SampleError, match="outside of"):
        ChatFormat("m", video="video_url").body(question(media=(film,)))
    with pytest.raises(SampleError, match="outside of"):
        load_video(film)
    (data / "frames").mkdir()
    (data / "frames" / "1.png").symlink_to(secret)
    with pytest.raises(SampleError, match="outside of"):
        load_video(named(data, "frames", "video"))


NO_VIDEOS = {
    "secret.mp4": b"-----BEGIN OPENSSH PRIVATE KEY-----\nG" + b"b3BlbnNzaC1rZXktdjEA" * 40,
    "accounts.mkv": b"root:x:0:0:root:/root:/bin/bash\n" * 20,
    "picture.mp4": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "photo.webm": b"\xff\xd8\xff\xe0" + bytes(100),
    "heic.mov": b"\x00\x00\x00\x18ftypheic" + bytes(100),
    "avif.mp4": b"\x00\x00\x00\x20ftypavif" + bytes(100),
    "sound.avi": b"RIFF\x00\x01\x00\x00WAVEfmt " + bytes(100),
    "web.avi": b"RIFF\x00\x01\x00\x00WEBPVP8 " + bytes(100),
    "list.ts": b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n" + b"\n" * 600,
    "G.ts": b"G" + b"secret" * 200,
    "list.mp4": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "archive.mp4": b"PK\x03\x04" + bytes(100),
    "weights.mp4": b"\x80\x04\x95" + bytes(100),
    "short.mp4": b"f",
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_only_videos_are_sent_as_they_are(name: str, tmp_path: Path) -> None:
    """A file of the data's own folder may be called a video and be anything: keys, tables, somebody's pictures."""
    (tmp_path / name).write_bytes(NO_VIDEOS[name])
    for film in (named(tmp_path, name, "video"), Media("video", data=NO_VIDEOS[name])):
        with pytest.raises(SampleError, match="is no video file, so it isn't sent"):
            ChatFormat("m", video="video_url").body(question(media=(film,)))
        with pytest.raises(SampleError, match="is no video file, so it isn't sent"):
            read_video(film)


def test_a_video_is_sent_as_what_it_is_and_not_as_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "film.txt").write_bytes(
        b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"
    )
    assert read_video(named(tmp_path, "film.txt", "video"))[0] == "video/webm"


SOURCES = {
    "file": ("file: d.jsonl", ""),
    "file of the data root": ("{file: d.jsonl, data: b}", "b"),
    "tsv": ("tsv: d.tsv", ""),
    "folder": ("{folder: images, fields: {question: {text: q}}}", ""),
    "hub": ("{huggingface: {dataset: a/b, split: test}}", "a/b"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_kind_of_source_keeps_its_media_in_its_folder(secret: Path, kind: str) -> None:
    """A cloned dataset may bring links: one stays inside, one leads to the secret."""
    source, place = SOURCES[kind]
    data = secret.parent / "data"
    folder = data / place
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(folder / "real.png")
    (folder / "images" / "good.png").symlink_to(folder / "real.png")
    (folder / "images" / "bad.png").symlink_to(secret)
    names = ("images/bad.png", "images/good.png")
    rows = "".join(f'{{"question": "q", "image": "{name}"}}\n' for name in names)
    (folder / "d.jsonl").write_text(rows)
    (folder / "test.jsonl").write_text(rows)
    table = "".join(f"{number}\tq\t{name}\n" for number, name in enumerate(names))
    (folder / "d.tsv").write_text(f"index\tquestion\timage_path\n{table}")
    (data / "t.yaml").write_text(
        f"name: t\nmetric: exact_match\nsource: {source if source.startswith('{') else '{' + source + '}'}\n"
    )
    [task] = load_task_file(data / "t.yaml", DataFolders.parse([str(data)]))
    bad, good = (sample.images[0] for sample in task.source.load())
    assert load_image(good).size == (4, 4)
    with pytest.raises(SampleError, match="outside of"):
        load_image(bad)


def test_links_within_the_data_and_in_the_hubs_cache_are_followed(secret: Path) -> None:
    data = secret.parent / "data"
    secret.rename(data / "real.png")
    (data / "a.png").symlink_to("real.png")
    assert load_image(named(data, "a.png")).size == (4, 4)
    (secret.parent / "alias").symlink_to(data)
    assert load_image(named(secret.parent / "alias", str(data / "real.png"))).size == (4, 4)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/proc/self/environ", "folder"])
def test_what_is_no_regular_file_is_neither_waited_for_nor_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    media = Media("image", path=str(tmp_path / name))
    for look in (load_image, read_media_file, open_media, media_file):
        with pytest.raises(SampleError, match=r"regular file|empty file"):
            look(media)
    assert probes([planned([tmp_path / "pipe"])]) == []
    with pytest.raises(SampleError, match=r"regular file|empty file"):
        image_size(media)
    if name != "folder":
        with pytest.raises(SampleError, match=r"regular file|empty file"):
            load_video(Media("video", path=media.path))


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    media = Media("image", path=str(tmp_path / "a"))
    assert len(read_media_file(media, 100)) == 100
    with pytest.raises(SampleError, match="more than"):
        read_media_file(media, 99)


def test_a_machine_that_joined_opens_what_its_own_user_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator says where media are and what they may lead to: it could have any file of the joiner read."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x" * 100)
    found = probes([planned([file])])
    own = (str(tmp_path / "cache"),)
    theirs = (Media("image", path=str(file), within=("/",)), Media("image", extent=Extent(str(file), 10, 5)))
    assert sees(found)
    assert not sees(found, own)
    for media in theirs:
        [held] = with_extents(confined(question(media=(media,)), own)).media
        with pytest.raises(SampleError, match="outside of"):
            load_image(held)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert sees(found, own)
    both = with_extents(confined(question(media=theirs), own)).media
    assert read_media_file(both[0]) == b"x" * 100
    assert both[1].data == b"x" * 5
