"""Datasets of the hub: which files are read, from a folder, the cache or the hub, and what one is told without any.

Guards against half a copied dataset that passes for a smaller benchmark, against the hub being asked where it can't be
reached, and against messages that don't say which files to copy where.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog_fixtures import picture
from fake_hub import COMMIT, Hub, serving_hub
from muster.core import ConfigurationError, Sample
from muster.tasks.sources.data_folders import DataFolders
from muster.tasks.sources.hub_layout import choose_files
from muster.tasks.task_file import load_task_file

CARD = """---
license: mit
configs:
- config_name: counting
  data_files:
  - split: val
    path: counting/val-*
  - split: test
    path: ["counting/test-*"]
- config_name: default
  data_dir: all
  data_files:
  - split: val
    path: "*.parquet"
---
# A card
"""


def chosen(files: list[str], config: str | None, split: str, card: str = "") -> tuple[str, ...]:
    return choose_files(files, card, config, split, "o/d").files


def test_the_card_decides() -> None:
    files = ["counting/val-00000-of-00001.parquet", "counting/test-0.parquet", "all/x.parquet", "README.md"]
    assert chosen(files, "counting", "val", CARD) == ("counting/val-00000-of-00001.parquet",)
    assert chosen(files, "counting", "test", CARD) == ("counting/test-0.parquet",)
    assert chosen(files, None, "val", CARD) == ("all/x.parquet",)


@pytest.mark.parametrize(
    ("files", "config", "split", "expected"),
    [
        (
            ["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet", "data/val-0.parquet"],
            None,
            "test",
            2,
        ),
        (["Art/dev-00000-of-00001.parquet", "Art/test-00000-of-00001.parquet"], "Art", "dev", 1),
        (["test/a.parquet", "test/b.parquet", "train/a.parquet"], None, "test", 2),
        (["test.jsonl", "test.csv", "train.jsonl"], None, "test", 1),
        (
            ["testmini-00000-of-00001-725687bf7a18d64b.parquet", "test-00000-of-00001.parquet"],
            None,
            "testmini",
            1,
        ),
    ],
)
def test_without_a_card_names_and_folders_do(
    files: list[str], config: str | None, split: str, expected: int
) -> None:
    assert chosen(files, config, split) == tuple(files[:expected])


def test_what_is_not_there_is_named_with_what_is() -> None:
    files = ["counting/val-0.parquet"]
    with pytest.raises(
        ConfigurationError, match=r"o/d has no configuration 'cuonting'; did you mean 'counting'\?"
    ):
        chosen(files, "cuonting", "val", CARD)
    with pytest.raises(
        ConfigurationError, match=r"no split 'train' in configuration 'counting' \(found: val, test\)"
    ):
        chosen(files, "counting", "train", CARD)
    with pytest.raises(ConfigurationError, match=r"there are no files counting/test-\* \(split 'test'\)"):
        chosen(files, "counting", "test", CARD)
    with pytest.raises(
        ConfigurationError, match=r"2 of the 3 files data/t-.* are missing, the first is number 00000"
    ):
        chosen(["data/t-00001-of-00003.parquet"], None, "t")


# --- folders, cache and hub ---------------------------------------------------------------------------------------


def table(path: Path, *names: str) -> bytes:
    image = {"bytes": picture("8x8 red"), "path": None}
    rows = [{"id": name, "question": "q", "image": image, "answer": "x", "kind": name[0]} for name in names]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


def task(folder: Path, hub: str) -> Path:
    file = folder / "t.yaml"
    file.write_text(f"name: t\nmetric: exact_match\nsource: {{huggingface: {hub}}}\n")
    return file


def load(file: Path, *data: str) -> list[Sample]:
    [loaded] = load_task_file(file, DataFolders.parse(data))
    return list(loaded.source.load())


def test_a_folder_in_the_hubs_layout(tmp_path: Path) -> None:
    table(tmp_path / "root/o/d/A/test-00000-of-00002.parquet", "a1", "a2")
    table(tmp_path / "root/o/d/A/test-00001-of-00002.parquet", "a3")
    table(tmp_path / "root/o/d/B/test-00000-of-00001.parquet", "b1")
    table(tmp_path / "root/o/d/B/dev-00000-of-00001.parquet", "b0")
    one = task(tmp_path, "{dataset: o/d, config: A, split: test}")
    assert [sample.id for sample in load(one, str(tmp_path / "root"))] == ["a1", "a2", "a3"]
    both = task(tmp_path, "{dataset: o/d, config: [B, A], split: test}")
    samples = load(both, f"t={tmp_path / 'root' / 'o' / 'd'}")
    assert [(s.id, s.metadata["config"]) for s in samples] == [
        ("b1", "B"),
        ("a1", "A"),
        ("a2", "A"),
        ("a3", "A"),
    ]
    (tmp_path / "root/o/d/A/test-00000-of-00002.parquet").unlink()
    with pytest.raises(ConfigurationError, match="the copy is not complete"):
        load(one, str(tmp_path / "root"))


def test_the_revision_is_that_of_the_data(tmp_path: Path) -> None:
    def revision(root: str) -> str:
        [loaded] = load_task_file(file, DataFolders.parse([str(tmp_path / root)]))
        return loaded.source.revision()

    file = task(tmp_path, "{dataset: o/d, split: test}")
    content = table(tmp_path / "one/o/d/test.parquet", "a", "b")
    (tmp_path / "two/o/d").mkdir(parents=True)
    (tmp_path / "two/o/d/test.parquet").write_bytes(content)
    table(tmp_path / "three/o/d/test.parquet", "a", "c")
    assert revision("one") == revision("two") != revision("three")
    before = revision("one")
    task(tmp_path, "{dataset: o/d, split: test, revision: v2}")
    assert revision("one") != before


def test_images_of_another_configuration_are_joined_and_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the hub's GQA has them; a copy of each image per question would be forty times the images."""
    folder = tmp_path / "o" / "d"
    for config, columns in {
        "questions": {"id": ["1", "2", "3"], "imageId": ["a", "b", "a"], "question": ["Q1", "Q2", "Q3"]},
        "images": {
            "id": ["a", "b"],
            "image": [{"bytes": PIXEL, "path": "a.png"}, {"bytes": b"b", "path": None}],
        },
    }.items():
        (folder / config).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / config / "test-00000-of-00001.parquet")
    join = "{config: images, match: {imageId: id}, as: picture}"
    rest = f"join: {join}, fields: {{image: picture.image}}"
    source = f"{{huggingface: {{dataset: o/d, config: questions, split: test}}, {rest}}}"
    (tmp_path / "t.yaml").write_text(f"name: t\nsource: {source}\nmetric: exact_match\n")
    first, second, third = load(tmp_path / "t.yaml", f"t={folder}")
    assert [each.images[0].data for each in (first, second)] == [PIXEL, b"b"]
    assert first.images[0].data is third.images[0].data
    before = revision_of(tmp_path / "t.yaml", f"t={folder}")
    monkeypatch.setattr("muster.tasks.sources.pack.PACK_ABOVE", 0)
    monkeypatch.setenv("MUSTER_CACHE", str(tmp_path / "cache"))
    packed = load(tmp_path / "t.yaml", f"t={folder}")
    assert packed[0].images[0].extent == packed[2].images[0].extent != packed[1].images[0].extent
    other = {"id": ["a", "b"], "image": [{"bytes": b"other", "path": None}] * 2}
    pq.write_table(pa.table(other), folder / "images" / "test-00000-of-00001.parquet")
    assert revision_of(tmp_path / "t.yaml", f"t={folder}") != before


def revision_of(file: Path, *data: str) -> str:
    [task] = load_task_file(file, DataFolders.parse(data))
    return task.source.revision()


PIXEL = b"the bytes of an image"


def test_a_pointer_of_git_lfs_is_told(tmp_path: Path) -> None:
    (tmp_path / "o/d").mkdir(parents=True)
    (tmp_path / "o/d/test.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:x\nsize 3\n"
    )
    with pytest.raises(ConfigurationError, match="cloned without git LFS"):
        load(task(tmp_path, "{dataset: o/d, split: test}"), str(tmp_path))


Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    files = {
        "README.md": CARD.encode(),
        "counting/val-00000-of-00002.parquet": table(tmp_path / "made/0.parquet", "a"),
        "counting/val-00001-of-00002.parquet": table(tmp_path / "made/1.parquet", "b"),
        "counting/test-0.parquet": b"never asked for",
    }
    with serving_hub({"o/d": files}) as hub:
        yield hub


@pytest.fixture
def check(hub: Hub, tmp_path: Path) -> Check:
    """`muster tasks check` with the fake hub and a cache of its own."""

    def run(revision: str = "main", **env: str) -> subprocess.CompletedProcess[str]:
        file = task(tmp_path, f"{{dataset: o/d, config: counting, split: val, revision: {revision}}}")
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return subprocess.run(
            [sys.executable, "-m", "muster", "tasks", "check", str(file)],
            env={
                **clean,
                "HF_ENDPOINT": hub.address,
                "HF_HOME": str(tmp_path / "hf"),
                "MUSTER_CACHE": str(tmp_path / "cache"),
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_OFFLINE": "0",
                **env,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_what_is_needed_is_fetched_and_then_in_the_cache(hub: Hub, check: Check) -> None:
    first = check(COMMIT)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 samples" in first.stdout
    assert not any("counting/test-0" in request for request in hub.requests)
    asked = len(hub.requests)
    again = check(COMMIT)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(hub.requests) == asked, "a commit that is in the cache needs no network"
    offline = check("main", HF_HUB_OFFLINE="1")
    assert "neither in" in offline.stdout + offline.stderr, "only the commit was fetched, not the branch"
    assert len(hub.requests) == asked


def test_without_the_hub_one_is_told_what_to_place_where(hub: Hub, check: Check, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "data" / "o" / "d"
    told = (
        f"On a machine with a network run `hf download o/d --repo-type dataset --revision main --local-dir FOLDER`, "
        f"copy FOLDER to {folder}, or anywhere and give it as --data t=FOLDER"
    )
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        done = check(**{variable: "1"})
        assert done.returncode == 2
        assert f"{variable} is set. {told}" in done.stdout
    assert hub.requests == []


def test_a_hub_that_nobody_answers_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection, for real; only the hub client's own pauses between its tries are cut."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "MUSTER_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigurationError, match=r"and the hub can't be reached\. On a machine with a network run"
    ):
        load(task(tmp_path, "{dataset: o/d, split: val}"), str(tmp_path / "nothing"))


def test_a_dataset_or_revision_that_the_hub_has_not(hub: Hub, check: Check) -> None:
    done = check("v9")
    assert done.returncode == 2
    assert "the dataset o/d has no revision 'v9' on the hub" in done.stdout
    hub.datasets.clear()
    done = check()
    assert done.returncode == 2
    assert "there is no dataset o/d on the hub" in done.stdout
