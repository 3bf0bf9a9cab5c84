"""The race's samples, each in the forms of Muster, lmms-eval, VLMEvalKit and vLLM, from the same pictures."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers import race_model
from benchmarks.peers.tools import Questions
from benchmarks.peers.vllm_tools import SERVED_NAME
from muster.demo import demo_model_path
from muster.tasks.registry import load_tasks

_UTILS = """
import io
from PIL import Image

def visual(doc):
    return [Image.open(io.BytesIO(doc["picture"])).convert("RGB")]

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def score(doc, results):
    return {"accuracy": float(results[0].strip() == doc["answer"])}
"""


class Row(NamedTuple):
    """One sample."""

    question: str
    """The whole prompt but for the picture."""
    answer: str
    picture: bytes


def demo_questions(folder: Path, count: int, *, broken: bool = False) -> Questions:
    """`count` digits for the demo model. `broken`: one picture in the middle can't be decoded."""
    (task,) = load_tasks(["digits_read"])
    known = list(task.source.load())
    rows = []
    for place in range(count):
        sample = known[place % len(known)]
        picture = sample.images[0].data or b""
        if broken and place == count // 2:
            picture = b"no picture" * 20
        rows.append(Row(f"{sample.question}\nAnswer with one digit.", str(sample.answer), picture))
    _write(folder, rows, tokens=4)
    return Questions(folder, count, demo_model_path(), 4, "llava_hf", "dtype=float32")


def kernel_questions(folder: Path, model: Path, count: int, longest: int = race_model.LONGEST) -> Questions:
    """`count` pictures of sizes that no tool changes, and answers of drawn lengths, for `race_model`."""
    drawn = random.Random(1)
    rows = []
    for length in race_model.lengths(count, longest):
        size = (28 * drawn.randint(2, 4), 28 * drawn.randint(2, 4))
        colour = (drawn.randrange(256), drawn.randrange(256), drawn.randrange(256))
        rows.append(
            Row(
                f"Count down from{race_model.number(length)}",
                race_model.answer(length),
                _picture(size, colour),
            )
        )
    tokens = longest + 8
    _write(folder, rows, tokens=tokens)
    pixels = {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 16}
    said = ",".join(f"{name}={value}" for name, value in pixels.items())
    return Questions(
        *(folder, count, model, tokens, "qwen2_5_vl", f"{said},attn_implementation=sdpa"),
        context=tokens + 64,
        pixels=pixels,
    )


def _picture(size: tuple[int, int], colour: tuple[int, int, int]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def _write(folder: Path, rows: Sequence[Row], tokens: int) -> None:
    if (folder / "done").exists():
        return
    for part in (folder, folder / "lmms_eval", folder / "vlmevalkit", folder / "vllm"):
        part.mkdir(parents=True, exist_ok=True)
    _write_muster(folder, rows, tokens)
    _write_lmms_eval(folder / "lmms_eval", rows, tokens)
    _write_vlmevalkit(folder / "vlmevalkit", rows)
    _write_vllm(folder / "vllm", rows, tokens)
    (folder / "done").touch()


def _write_muster(folder: Path, rows: Sequence[Row], tokens: int) -> None:
    with (folder / "race.jsonl").open("w") as lines:
        for place, row in enumerate(rows):
            (folder / f"{place}.png").write_bytes(row.picture)
            sample = {
                "id": str(place),
                "question": row.question,
                "images": [f"{place}.png"],
                "answer": row.answer,
            }
            lines.write(json.dumps(sample) + "\n")
    (folder / "race.yaml").write_text(
        "name: race\nsource: {file: race.jsonl}\nmetric: exact_match\n"
        'prompt: {template: "{{ question }}"}\n'
        f"generation: {{max_new_tokens: {tokens}}}\n"
    )


def _write_lmms_eval(folder: Path, rows: Sequence[Row], tokens: int) -> None:
    table = pa.Table.from_pylist([{"id": str(place), **row._asdict()} for place, row in enumerate(rows)])
    pq.write_table(table, folder / "race.parquet")
    (folder / "utils.py").write_text(_UTILS)
    (folder / "race.yaml").write_text(
        "task: race\ndataset_path: parquet\n"
        f"dataset_kwargs: {{data_files: {{test: {folder / 'race.parquet'}}}}}\n"
        "test_split: test\noutput_type: generate_until\n"
        "doc_to_visual: !function utils.visual\ndoc_to_text: !function utils.text\ndoc_to_target: answer\n"
        "process_results: !function utils.score\n"
        f"generation_kwargs: {{max_new_tokens: {tokens}, do_sample: false}}\n"
        "metric_list:\n  - {metric: accuracy, aggregation: mean, higher_is_better: true}\n"
    )


def _write_vlmevalkit(folder: Path, rows: Sequence[Row]) -> None:
    """A TSV with pictures in base64, quoted as pandas reads it."""
    with (folder / "race.tsv").open("w") as lines:
        lines.write("index\timage\tquestion\tanswer\n")
        for place, row in enumerate(rows):
            picture = base64.b64encode(row.picture).decode()
            lines.write(f'{place}\t{picture}\t"{row.question}"\t"{row.answer}"\n')


def _write_vllm(folder: Path, rows: Sequence[Row], tokens: int) -> None:
    """A batch in OpenAI's form, a request per line."""
    with (folder / "batch.jsonl").open("w") as lines:
        for place, row in enumerate(rows):
            picture = "data:image/png;base64," + base64.b64encode(row.picture).decode()
            content = [
                {"type": "image_url", "image_url": {"url": picture}},
                {"type": "text", "text": row.question},
            ]
            body = {
                "model": SERVED_NAME,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": tokens,
                "temperature": 0,
            }
            request = {"custom_id": str(place), "method": "POST", "url": "/v1/chat/completions", "body": body}
            lines.write(json.dumps(request) + "\n")
