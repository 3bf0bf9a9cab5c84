"""The race's samples: digits of the demo benchmark as a task of Muster's and of lmms-eval's, from the same pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.peers.tools import ANSWER_TOKENS, Questions
from muster.tasks.registry import load_tasks

_PROMPT = "Answer with one digit."
_UTILS = """
import io
from PIL import Image

def visual(doc):
    return [Image.open(io.BytesIO(doc["picture"])).convert("RGB")]

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"] + "\\nAnswer with one digit."

def score(doc, results):
    return {"accuracy": float(results[0].strip() == doc["answer"])}
"""


def write_questions(folder: Path, count: int, *, broken: bool = False) -> Questions:
    """`count` samples. `broken`: one picture in the middle can't be decoded."""
    (task,) = load_tasks(["digits_read"])
    known = list(task.source.load())
    lmms = folder / "lmms_eval"
    lmms.mkdir(parents=True)
    rows, lines = [], []
    for number in range(count):
        sample = known[number % len(known)]
        picture = sample.images[0].data or b""
        if broken and number == count // 2:
            picture = picture[:40]
        name = f"{number}.png"
        (folder / name).write_bytes(picture)
        rows.append(
            {"id": str(number), "question": sample.question, "answer": sample.answer, "picture": picture}
        )
        lines.append(
            json.dumps(
                {"id": str(number), "question": sample.question, "images": [name], "answer": sample.answer}
            )
        )
    (folder / "digits.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "digits.yaml").write_text(
        "name: race\nsource: {file: digits.jsonl}\nmetric: exact_match\n"
        f"prompt:\n  template: |\n    {{{{ question }}}}\n    {_PROMPT}\n"
        f"generation: {{max_new_tokens: {ANSWER_TOKENS}}}\n"
    )
    pq.write_table(pa.Table.from_pylist(rows), lmms / "digits.parquet")
    (lmms / "utils.py").write_text(_UTILS)
    (lmms / "race.yaml").write_text(
        "task: race\ndataset_path: parquet\n"
        f"dataset_kwargs: {{data_files: {{test: {lmms / 'digits.parquet'}}}}}\n"
        "test_split: test\noutput_type: generate_until\n"
        "doc_to_visual: !function utils.visual\ndoc_to_text: !function utils.text\ndoc_to_target: answer\n"
        "process_results: !function utils.score\n"
        f"generation_kwargs: {{max_new_tokens: {ANSWER_TOKENS}, do_sample: false}}\n"
        "metric_list:\n  - {metric: accuracy, aggregation: mean, higher_is_better: true}\n"
    )
    return Questions(folder, count)
