"""Pictures as masks in metadata.

Guards against rows and columns that change places, and against metrics that would read files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from muster.core import ConfigurationError, Sample
from muster.metrics.boxes import Size
from muster.metrics.masks import read_mask
from muster.metrics.registry import build_metric
from muster.tasks.registry import load_tasks
from muster.tasks.sources.masks import run_lengths
from muster.tasks.sources.media_cells import MediaPlace

TASK = """
name: pointing
source:
  file: rows.jsonl
  fields: {metadata: {mask: {mask: region}, level: level}}
metric: refspatial
"""


def _picture(pixels: list[list[bool]]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8) * 9).save(content, "PNG")
    return content.getvalue()


@given(
    st.integers(1, 7).flatmap(lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w), min_size=1))
)
def test_each_pixel_is_where_it_was(pixels: list[list[bool]]) -> None:
    mask = read_mask(run_lengths(_picture(pixels), MediaPlace(Path("/"))))
    assert mask is not None
    assert mask.size == Size(len(pixels[0]), len(pixels))
    for y in range(-1, len(pixels) + 1):
        for x in range(-1, len(pixels[0]) + 1):
            inside = 0 <= y < len(pixels) and 0 <= x < len(pixels[0]) and pixels[y][x]
            assert mask.share_of_box(x, y, x + 1, y + 1) == (int(inside), 1)
    whole = mask.share_of_box(-2, -2, 9, len(pixels) + 2)
    assert whole == (sum(map(sum, pixels)), 11 * (len(pixels) + 4))


def test_a_file_beside_the_data_becomes_run_lengths(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(_picture([[False, True], [False, True], [False, False]]))
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.jsonl").write_text(
        '{"question": "a?", "region": "mask.png", "level": 1}\n'
        '{"question": "b?", "region": {"size": [1, 2], "counts": [1, 1]}, "level": 2}\n'
        '{"question": "c?", "region": null, "level": 3}\n'
    )
    [task] = load_tasks([str(tmp_path / "task.yaml")])
    first, second, third = task.source.load()
    assert first.metadata == {"mask": {"size": [3, 2], "counts": [3, 2, 1]}, "level": 1}
    assert second.metadata["mask"] == {"size": [1, 2], "counts": [1, 1]}
    assert "mask" not in third.metadata


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"nothing.png"', r"rows\.jsonl:1.*metadata\.mask.*nothing\.png"),
        ("17", r"metadata\.mask: 17 is neither a path"),
    ],
)
def test_what_is_no_picture_is_said_with_its_row(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "task.yaml").write_text(TASK)
    (tmp_path / "rows.jsonl").write_text(f'{{"question": "a?", "region": {row}, "level": 1}}\n')
    [task] = load_tasks([str(tmp_path / "task.yaml")])
    with pytest.raises(ConfigurationError, match=message):
        task.source.load()


@pytest.mark.parametrize("rule", ["{mask: [a]}", "{masks: a}", "{mask: a, column: b}"])
def test_a_rule_that_is_none_is_refused(tmp_path: Path, rule: str) -> None:
    (tmp_path / "task.yaml").write_text(TASK.replace("{mask: region}", rule))
    with pytest.raises(ConfigurationError, match="neither a column's name nor a `mask: COLUMN`"):
        load_tasks([str(tmp_path / "task.yaml")])


@pytest.mark.parametrize(
    ("answer", "accuracy"),
    [
        ('[{"point_2d": [750, 100], "label": "a"}]', 1.0),
        ('```json\n[{"point_2d": [250, 100]}, {"point_2d": [750, 100]}]\n```', 0.5),
        ('[{"point": [100, 750]}]', 1.0),
        ("[(0.75, 0.1)]", 1.0),
        ("It is at [0.75, 0.1].", 1.0),
        ("(0.75, 0.9)", 0.0),
        ("(9, 9)", 0.0),
        ("nowhere", 0.0),
    ],
)
def test_our_own_reader_knows_the_notations_of_models(answer: str, accuracy: float) -> None:
    """Whatever unit: of JSON thousandths, of others shares or pixels."""
    sample = Sample("1", "?", metadata={"mask": {"size": [3, 2], "counts": [3, 2, 1]}})
    assert build_metric("refspatial").score(sample, answer).scores == {"accuracy": accuracy}
