"""VLMEvalKit's models, asked by its own inference scripts and by Muster: every answer compared with `==`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.parity.bench import Bench
from muster.core import RequestKey
from muster.demo import demo_model_path
from muster.results.journal_read import JournalReader


class Asked(NamedTuple):
    """A model of VLMEvalKit, its arguments, and the datasets that it is asked about."""

    model: str
    args: Mapping[str, object]
    datasets: Sequence[str]
    why: str


class Answers(NamedTuple):
    """What one comparison came to."""

    model: str
    dataset: str
    total: int
    differ: Mapping[str, int]
    """By way of running Muster."""
    why: str


def models(server: str) -> list[Asked]:
    """A wrapper of weights with prompts of its own, over the demo model; and one of an API, whose answers tell what
    it was asked, pictures and settings too.
    """
    api = {"api_base": f"{server.removesuffix('/v1')}/echo/chat/completions", "key": "x", "retry": 1}
    return [
        Asked(
            "granite_vision_3.3_2b",
            {"model_path": str(demo_model_path()), "max_new_tokens": 16},
            ["MMStar", "ChartQA_TEST", "BLINK", "MME"],
            "weights; prompts of its own for all but MME",
        ),
        Asked(
            "GPT4o",
            api,
            ["MMStar", "ChartQA_TEST", "BLINK", "MMMU_DEV_VAL", "HallusionBench"],
            "an API: the answer is a digest of the request",
        ),
    ]


def compare(asked: Asked, bench: Bench, folder: Path) -> list[Answers]:
    """Both sides, for each dataset; ours with one replica and with two. What `folder` has isn't asked again."""
    file = folder / f"{asked.model}.json"
    if not file.exists():
        shutil.rmtree(folder / "batch", ignore_errors=True)
        (folder / "batch").mkdir(parents=True)
        found = [each._asdict() for each in _compare(asked, bench, folder / "batch")]
        beside = file.with_suffix(".part")
        beside.write_text(json.dumps(found, indent=1), encoding="utf-8")
        beside.replace(file)
    return [Answers(**each) for each in json.loads(file.read_text(encoding="utf-8"))]


def _compare(asked: Asked, bench: Bench, work: Path) -> list[Answers]:
    file, log = work / "answers.json", work / "model.log"
    beside = [] if bench.checkout is None else ["--vlmevalkit-path", str(bench.checkout)]
    arguments = [bench.checkout or "-", asked.model, json.dumps(asked.args), file, *asked.datasets]
    bench.inside("model_reference", arguments, log)
    theirs: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    ours: dict[str, dict[str, dict[str, str | None]]] = {}
    for way, replicas in (("1 replica", 1), ("2 replicas", 2)):
        output = work / f"run-{replicas}"
        run = [
            *("run", "--model", f"vlmevalkit:{asked.model}"),
            *("--model-args", ",".join(f"{name}={value}" for name, value in asked.args.items())),
            *("--vlmevalkit-python", str(bench.python), *beside),
            *("--tasks", ",".join(f"vlmevalkit:{name}" for name in asked.datasets)),
            *("--replicas", str(replicas), "--output", str(output), "--progress", "none"),
        ]
        bench.muster(run, log)
        with JournalReader(output / "journal.jsonl") as journal:
            ours[way] = {
                name: {index: _said(journal, name, index) for index in answers}
                for name, answers in theirs.items()
            }
    return [
        Answers(
            asked.model,
            name,
            len(theirs[name]),
            {
                way: sum(answers[name][index] != text for index, text in theirs[name].items())
                for way, answers in ours.items()
            },
            asked.why,
        )
        for name in asked.datasets
    ]


def _said(journal: JournalReader, name: str, index: str) -> str | None:
    record = journal.get(RequestKey(f"vlmevalkit:{name}", index))
    return None if record is None else record.completion.text


def table(rows: Sequence[Answers]) -> list[str]:
    """Markdown."""
    lines = [
        "## VLMEvalKit's models",
        "",
        "Answers of its own inference scripts and of `--model vlmevalkit:NAME`, with one replica and with two.",
        "",
        "| model | dataset | answers | differ | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        differ = ", ".join(f"{count} ({way})" for way, count in row.differ.items() if count) or "0"
        lines.append(f"| {row.model} | {row.dataset} | {row.total} | {differ} | {row.why} |")
    return lines
