"""Images for workers on other disks: what is sent, what is refused, and what only looks like the same file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.coordinator import media_transfer, server
from muster.coordinator.media_transfer import PROBES_PER_TASK, probes, with_media
from muster.core import Completion, Generation, Media, Message, Part, Request, RequestKey, Sample, SampleError
from muster.machine.interfaces import interface_address, matches
from muster.models.protocol import RequestStream
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.wire.probes import sees
from muster.worker.stream import ClaimedRequests
from served import link_to, serving
from toy_task import ToyMetric, ToyPrompt, ToySource


def request(*paths: Path) -> Request:
    media = [Part(media=Media("image", path=str(path))) for path in paths]
    inline = Part(media=Media("image", data=b"inline"))
    return Request(RequestKey("t", "s"), (Message("user", (Part(text="a"), *media, inline, Part(text="b"))),))


def planned(paths: list[Path]) -> PlannedTask:
    samples = [Sample(str(i), "?", images=(Media("image", path=str(p)),)) for i, p in enumerate(paths)]
    return PlannedTask(Task("t", 1, ToySource(samples), ToyPrompt(), ToyMetric()), samples, Generation())


def files(folder: Path, count: int, size: int = 10) -> list[Path]:
    found = [folder / f"{number}.png" for number in range(count)]
    for number, path in enumerate(found):
        path.write_bytes(bytes([number % 256]) * size)
    return found


def test_the_bytes_take_the_paths_place_and_the_order_stays(tmp_path: Path) -> None:
    first, second = files(tmp_path, 2)
    filled = with_media(request(second, first))
    assert [part.text for part in filled.messages[0].parts] == ["a", None, None, None, "b"]
    assert [media.data for media in filled.media] == [b"\1" * 10, b"\0" * 10, b"inline"]
    assert all(media.path is None for media in filled.media)


def test_what_cannot_be_sent_is_the_samples_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = files(tmp_path, 1)
    with pytest.raises(SampleError, match=r"on the coordinator's node, image .*none\.png does not exist"):
        with_media(request(tmp_path / "none.png"))
    with pytest.raises(SampleError, match="is no regular file but a folder"):
        with_media(request(tmp_path))
    monkeypatch.setattr(media_transfer, "MOST_BYTES", 15)
    with pytest.raises(SampleError, match="too large to send with its request"):
        with_media(request(path, path))


def test_a_worker_sees_the_files_only_if_they_are_the_same(tmp_path: Path) -> None:
    paths = files(tmp_path, 100, size=10_000)
    named = probes([planned([*paths, tmp_path / "missing.png"])])
    assert 1 < len(named) <= PROBES_PER_TASK
    assert sees(named)
    assert sees([])
    content = bytearray(Path(named[-1].path).read_bytes())
    content[-1] ^= 1
    Path(named[-1].path).write_bytes(content)
    assert not sees(named)
    Path(named[-1].path).unlink()
    assert not sees(named)


def test_many_large_files_reach_a_worker_in_several_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_BUFFERED", 2_500)
    monkeypatch.setattr(ToyPrompt, "render", _with_images)
    paths = files(tmp_path, 40, size=1_000)
    paths[7].unlink()
    samples = [Sample(str(i), "?", images=(Media("image", path=str(p)),)) for i, p in enumerate(paths)]
    seen: dict[str, bytes | None] = {}

    def answer(requests: RequestStream) -> Iterator[Completion]:
        for each in requests:
            seen[each.key.sample_id] = each.media[0].data
            yield Completion(each.key, "text")

    with serving(0, samples=samples) as served:
        link = link_to(lambda: served.port)
        ClaimedRequests(link).answers_from(answer)
        link.leave()
    failed = [record.completion for record in served.records if record.completion.failure]
    assert [completion.key.sample_id for completion in failed] == ["7"]
    assert len(served.records) == len(samples)
    assert seen == {str(i): bytes([i]) * 1_000 for i in range(40) if i != 7}


def _with_images(prompt: ToyPrompt, sample: Sample) -> tuple[Message, ...]:
    return (Message("user", tuple(Part(media=media) for media in sample.images)),)


def test_interfaces_as_nccl_and_gloo_mean_them() -> None:
    """`^docker` must not choose the loopback, nor Gloo's `eth1` an `eth10`."""
    assert not matches("docker0", "^=docker0")
    assert matches("docker01", "^=docker0")
    with pytest.raises(Exception, match="GLOO_SOCKET_IFNAME=l: no such network interface"):
        interface_address({"GLOO_SOCKET_IFNAME": "l"})
    assert interface_address({"NCCL_SOCKET_IFNAME": "l"}) == "127.0.0.1"
    assert interface_address({"NCCL_SOCKET_IFNAME": "^nothing"}) is not None
