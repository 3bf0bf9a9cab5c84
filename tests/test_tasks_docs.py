"""The examples of docs/tasks.md are what users copy: each has to work as it stands there."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog_fixtures import picture
from muster.core import Sample
from muster.metrics.protocol import ScoredSample
from muster.tasks.registry import load_tasks

GUIDE = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", GUIDE, re.DOTALL))
TASKS = {
    "shapes.yaml": {"shapes": 2},
    "shapes_by_level.yaml": {"shapes_easy": 1, "shapes_spelled_out": 2},
    "before_after.yaml": {"before_after": 1},
    "quiz.yaml": {"quiz": 2},
    "stars.yaml": {"stars": 3},
    "bench.yaml": {"bench": 2},
    "talks.yaml": {"talks": 1},
    "boxes.yaml": {"boxes": 2},
    "follow_ups.yaml": {"follow_ups": 4},
    "sums.py": {"sums": 100},
}


def write_published_data(root: Path) -> None:
    """What the guide's hub dataset and download would bring."""
    image = picture("8x8 red")
    rows = [
        {
            "index": i,
            "question": "q",
            "image": {"bytes": image, "path": None},
            "options": "['a', 'b']",
            "label": 1,
        }
        for i in range(3)
    ]
    (root / "my-lab/stars/night").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), root / "my-lab/stars/night/test-00000-of-00001.parquet")
    (root / "vlmevalkit").mkdir()
    lines = (f"{i}\t{base64.b64encode(image).decode()}\tq\tx\ty\tA\tc\td\n" for i in range(2))
    header = "index\timage\tquestion\tA\tB\tanswer\tcategory\tl2-category\n"
    (root / "vlmevalkit/MyBench_DEV.tsv").write_text(header + "".join(lines))


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "img").mkdir()
    write_published_data(tmp_path / "root")
    monkeypatch.setenv("MUSTER_DATA", str(tmp_path / "root"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_task_file_of_the_guide_is_tried() -> None:
    assert {name for name in FILES if name.endswith((".yaml", ".py"))} == set(TASKS)


@pytest.mark.parametrize("file", TASKS)
def test_an_example_loads_renders_and_scores(guide: Path, file: str) -> None:
    tasks = load_tasks([f"./{file}"])
    assert {task.name: len(task.source.load()) for task in tasks} == TASKS[file]
    for task in tasks:
        rows = []
        for sample in task.source.load():
            messages = task.prompt.render(sample)
            placed = [part.media for part in messages[-1].parts if part.media]
            assert placed == list(sample.images)
            rows.append(ScoredSample(sample, sample.answer, task.metric.score(sample, sample.answer)))
        assert task.metric.aggregate(rows)[task.metric.info.primary] == 1.0
        assert task.source.revision()
        assert task.prompt.digest()


def test_the_spelled_out_prompt(guide: Path) -> None:
    _, task = load_tasks(["shapes_by_level.yaml"])
    [_, user] = task.prompt.render(task.source.load()[0])
    assert user.text == "What is shown?\n(A) a square\n(B) a circle\nAnswer with one of A, B."


def test_the_python_snippet_at_the_end(guide: Path) -> None:
    [snippet] = re.findall(r"From Python:\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    names: dict[str, object] = {}
    exec(snippet, names)
    samples = names["samples"]
    assert isinstance(samples, Sequence)
    assert all(isinstance(sample, Sample) for sample in samples)
    assert names["messages"]


def test_the_error_messages_in_the_guide_are_the_real_ones(guide: Path) -> None:
    (guide / "my.yaml").write_text(
        "name: x\nsource:\n  file: d.csv\n  wher: {a: 1}\n\n\n\nmetric:\n  name: exact_mach\n"
    )
    with pytest.raises(Exception, match="did you mean") as caught:
        load_tasks(["my.yaml"])
    shown = [line for line in GUIDE.splitlines() if line.startswith("my.yaml:")]
    for line, real in zip(shown, str(caught.value).splitlines(), strict=True):
        assert real.startswith(line.partition(" There are …")[0])
