"""A few rows of each catalogued benchmark, in the exact form in which it is published, with images made here.

`tests/catalog/TASK/fixture.yaml` lists the files of the benchmark's data folder. A file has `rows` (written as its
ending says: parquet with images as the hub stores them, TSV with images as base64, JSON lines), `json`, `text`,
`picture`, `video` (so many frames, ten a second) or `frames` (a folder of them). In rows, `{picture: 64x48 red}` stands
for the bytes of such an image, and `{base64: …}` for its base64. `predictions` (id to text) are answers that get the
full score, where the reference answers themselves don't. `verdicts` are what a judge says: pairs of a part of the
question and the verdict, the first that fits. `best` is the full score in points, and `below` what they score in a
variant that can't give it (variant to score; null: nothing can be scored).
"""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from api_servers import Answer, Call, chat, error
from video_files import write_frame_folder, write_video

FOLDER = Path(__file__).parent / "catalog"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C takes a tenth of the time


@dataclass(frozen=True)
class Fixture:
    """One task's data, written into a folder."""

    task: str
    predictions: Mapping[str, str]
    best: float | None = None
    below: Mapping[str, float | None] = field(default_factory=dict)
    verdicts: Sequence[Sequence[str]] = ()

    def judge(self, call: Call) -> Answer:
        """The script of a judge's server."""
        question = call.body["messages"][-1]["content"]
        found = (chat(verdict) for part, verdict in self.verdicts if part in question)
        return next(found, error(400, f"this fixture has no verdict for: {question}"))


def fixture_names() -> list[str]:
    """The tasks that have one."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / "fixture.yaml").is_file())


def write_fixture(task: str, folder: Path) -> Fixture:
    """Write the task's data into `folder`."""
    content = yaml.load((FOLDER / task / "fixture.yaml").read_text(encoding="utf-8"), _Loader)
    for each in content["files"]:
        file = folder / each["path"]
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(file, each)
    return Fixture(
        task,
        content.get("predictions", {}),
        content.get("best"),
        content.get("below", {}),
        content.get("verdicts", ()),
    )


def picture(text: str, form: str = "PNG") -> bytes:
    """The bytes of an image: `64x48 red`."""
    size, colour = text.split(" ", 1)
    width, height = map(int, size.split("x"))
    content = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(content, form)
    return content.getvalue()


def _write(file: Path, each: Mapping[str, Any]) -> None:
    if "video" in each:
        write_video(file, each["video"], rate=10, codec="mpeg4" if file.suffix == ".avi" else "libx264")
    elif "frames" in each:
        write_frame_folder(file, each["frames"], first=1)
    elif "picture" in each:
        file.write_bytes(picture(each["picture"], "JPEG" if file.suffix == ".jpg" else "PNG"))
    elif "text" in each:
        file.write_text(each["text"], encoding="utf-8")
    elif "json" in each:
        file.write_text(json.dumps(each["json"]), encoding="utf-8")
    elif file.suffix == ".parquet":
        rows = [_filled(row, lambda content: {"bytes": content, "path": None}) for row in each["rows"]]
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif file.suffix == ".tsv":
        rows = [_filled(row, lambda content: base64.b64encode(content).decode()) for row in each["rows"]]
        _write_tsv(file, rows)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in each["rows"]), encoding="utf-8")


def _write_tsv(file: Path, rows: list[Any]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
        writer.writerow(rows[0])
        # A list of images is written as VLMEvalKit's pandas writes one: as Python prints it.
        writer.writerows(
            [str(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows
        )


def _filled(value: Any, encode: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"picture"}:
            return encode(picture(value["picture"]))
        if value.keys() == {"base64"}:
            return base64.b64encode(picture(value["base64"])).decode()
        return {key: _filled(item, encode) for key, item in value.items()}
    return [_filled(item, encode) for item in value] if isinstance(value, list) else value
