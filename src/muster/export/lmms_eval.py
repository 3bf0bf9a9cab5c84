"""lmms-eval's files: `MODEL/DATE_results.json` and `MODEL/DATE_samples_TASK.jsonl`.

As lmms-eval 0.7.3 (75571cfe) writes them with `--log_samples` (loggers/evaluation_tracker.py, evaluator.py), and as its
`--baseline` (baselines/loader.py) and its web page of logs (tui/server.py) read them. `doc_id` is the place of a sample
among the task's. `score` is the headline score of one answer, which `--baseline` looks for under such a name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from muster.core import JSON
from muster.export.exporting import Exported, file_name, folder_for, left_out
from muster.export.rows import Row, rows_of
from muster.result_files.scored_run import ScoredRun
from muster.results.files import encode_json, replacing, write_json
from muster.results.results import TaskResults

_FILTER = "none"
"""The name of the filter that leaves answers as they are."""


def export_lmms_eval(run: ScoredRun, tasks: Sequence[str], target: Path) -> Exported:
    """Write one folder into the folder `target`. Samples without an answer are left out."""
    model = file_name(run.manifest.label)
    folder = folder_for(target / model)
    date = time.strftime("%Y%m%d_%H%M%S", time.localtime(run.manifest.created))
    files = [folder / f"{date}_results.json"]
    hashes: dict[str, JSON] = {}
    missing = 0
    for task in tasks:
        path = folder / f"{date}_samples_{file_name(task)}.jsonl"
        digest = hashlib.sha256()
        with replacing(path) as temporary, temporary.open("wb") as file:
            for repeats in _by_sample(rows_of(run, task)):
                answered = [row for row in repeats if row.prediction is not None]
                missing += len(repeats) - len(answered)
                if answered:
                    sample = _sample(answered, run.results.tasks[task])
                    digest.update(f"sample_{sample['doc_id']}{sample['doc_hash']}".encode())
                    file.write(encode_json(sample) + b"\n")
        hashes[task] = digest.hexdigest()
        files.append(path)
    write_json(files[0], _results(run, tasks, date, model) | {"task_hashes": hashes})
    return Exported(tuple(files), (*left_out(missing, "requests have no answer and were left out"),))


def _by_sample(rows: Iterator[Row]) -> Iterator[list[Row]]:
    for _, repeats in groupby(rows, key=lambda row: row.place):
        yield list(repeats)


def _sample(repeats: Sequence[Row], task: TaskResults) -> dict[str, JSON]:
    first = repeats[0]
    raw: list[JSON] = [row.prediction for row in repeats]
    final: list[JSON] = [row.answer for row in repeats]
    doc = encode_json([first.id, first.question, first.choices, first.answers])
    sample: dict[str, JSON] = {
        "doc_id": first.place,
        "target": first.answers[0] if len(first.answers) == 1 else str(list(first.answers)),
        "input": first.question,
        "filtered_resps": final[0] if len(final) == 1 else final,
        "doc_hash": hashlib.sha256(doc).hexdigest(),
        "sample_id": first.id,
    }
    if raw != final:
        sample["resps"] = raw
    headline = first.scores.get(task.answer_score or task.primary)
    return {**sample, **({} if headline is None else {"score": headline}), **first.scores}


def _results(run: ScoredRun, tasks: Sequence[str], date: str, model: str) -> dict[str, JSON]:
    scored = {name: run.results.tasks[name] for name in tasks}
    counts = {name: run.manifest.tasks[name].samples for name in tasks}
    config = run.manifest.config
    return {
        "results": {name: {"alias": name, **_metrics(task)} for name, task in scored.items()},
        "configs": {
            name: {"task": name, "metadata": {"version": task.version}} for name, task in scored.items()
        },
        "versions": {name: task.version for name, task in scored.items()},
        "n-shot": dict.fromkeys(scored, 0),
        "higher_is_better": {name: dict.fromkeys(task.metrics, True) for name, task in scored.items()},
        "n-samples": {name: {"original": count, "effective": count} for name, count in counts.items()},
        "config": {
            "model": config.get("backend"),
            "model_args": run.manifest.model_args,
            "batch_size": config.get("batch_size"),
            "limit": config.get("limit"),
        },
        "model_source": config.get("backend"),
        "model_name": run.manifest.label,
        "model_name_sanitized": model,
        "date": date,
        "start_time": run.manifest.created,
        "total_evaluation_time_seconds": str(run.results.timing.get("wall_s") or ""),
    }


def _metrics(task: TaskResults) -> dict[str, JSON]:
    found: dict[str, JSON] = {}
    for name, result in task.metrics.items():
        found[f"{name},{_FILTER}"] = result.value
        found[f"{name}_stderr,{_FILTER}"] = "N/A" if result.stderr is None else result.stderr
    return found
