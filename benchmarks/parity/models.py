"""VLMEvalKit's models, asked by its own inference scripts and by Muster: every answer compared with `==`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from muster.core import RequestKey
from muster.demo import demo_model_path
from muster.results.journal_read import JournalReader

INSIDE = Path(__file__).parent / "inside"


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


def compare(
    asked: Asked, python: Path, checkout: Path | None, environment: Mapping[str, str], root: Path
) -> list[Answers]:
    """Both sides, for each dataset; ours with one replica and with two."""
    file, log = root / f"answers-{asked.model}.json", root / f"model-{asked.model}.log"
    beside = [] if checkout is None else ["--vlmevalkit-path", str(checkout)]
    with log.open("wb") as stream:
        subprocess.run(
            [
                *(str(python), str(INSIDE / "vlmevalkit_model_reference.py"), str(checkout or "-")),
                *(asked.model, json.dumps(asked.args), str(file), *asked.datasets),
            ],
            cwd=root,
            env=environment,
            stdout=stream,
            stderr=stream,
            check=True,
        )
    theirs: dict[str, dict[str, str]] = json.loads(file.read_text())
    ours: dict[str, dict[str, dict[str, str | None]]] = {}
    for way, replicas in (("1 replica", 1), ("2 replicas", 2)):
        output = root / f"run-{asked.model}-{replicas}"
        command = [
            *(sys.executable, "-m", "muster", "run", "--model", f"vlmevalkit:{asked.model}"),
            *("--model-args", ",".join(f"{name}={value}" for name, value in asked.args.items())),
            *("--vlmevalkit-python", str(python), *beside),
            *("--tasks", ",".join(f"vlmevalkit:{name}" for name in asked.datasets)),
            *("--replicas", str(replicas), "--output", str(output), "--progress", "none"),
        ]
        with log.open("ab") as stream:
            done = subprocess.run(command, env=environment, stdout=stream, stderr=stream, check=False)
        if done.returncode not in (0, 3):
            raise SystemExit(f"muster run ended with {done.returncode}; see {log}")
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
