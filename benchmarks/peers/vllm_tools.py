"""vLLM in the race: its own batch interface, and Muster with its vllm backend, in one environment with one engine."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.tools import Muster, Questions, Start

SERVED_NAME = "race"
SOURCE = Path(__file__).parents[2] / "src"
ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
}


@dataclass(frozen=True, slots=True)
class RunBatch:
    """`vllm run-batch`, which answers a file of requests. It scores nothing: `muster score` does, afterwards."""

    python: str
    name: str = "vllm run-batch"
    has_batches: bool = True
    most_processes: int | None = 1

    def command(self, questions: Questions, start: Start) -> list[str]:
        """With the settings of the engine that Muster's backend gets."""
        settings = {
            **_engine(questions, start),
            "limit_mm_per_prompt": {"image": 1, "video": 0},
            **({"mm_processor_kwargs": dict(questions.pixels)} if questions.pixels else {}),
        }
        words = [
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={_word(value)}")
            for name, value in settings.items()
        ]
        return [
            *(self.python, "-m", "vllm.entrypoints.cli.main", "run-batch"),
            *(
                "-i",
                str(questions.folder / "vllm" / "batch.jsonl"),
                "-o",
                str(start.output / "answers.jsonl"),
            ),
            *("--model", str(questions.model), "--served-model-name", SERVED_NAME, *words),
        ]

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """What vLLM's CPU build needs."""
        del questions
        return ON_CPU if start.device == "cpu" else {}

    def saved(self, output: Path) -> int:
        """Answers in its output file."""
        return sum(1 for _ in _answers(output / "answers.jsonl"))

    def last_answer(self, output: Path) -> float | None:
        """The engine's answers are marked."""
        del output
        return None

    def score(self, questions: Questions, output: Path) -> float | None:
        """By `muster score`, which isn't part of its time."""
        answers = [{"id": name, "prediction": text} for name, text in _answers(output / "answers.jsonl")]
        if not answers:
            return None
        predictions = output / "predictions.jsonl"
        predictions.write_text("".join(json.dumps(each) + "\n" for each in answers))
        task = str(questions.folder / "race.yaml")
        scored = subprocess.run(
            [
                *(sys.executable, "-m", "muster", "score", "--task", task, "--json"),
                "--predictions",
                predictions,
            ],
            capture_output=True,
            check=False,
        )
        with contextlib.suppress(ValueError, KeyError):
            return float(json.loads(scored.stdout)["tasks"]["race"]["metrics"]["accuracy"]["value"])
        return None


class MusterWithVllm(Muster):
    """`muster run --backend vllm`."""

    name = "Muster with vLLM"

    def __init__(self, python: str) -> None:
        self._python = python

    def command(self, questions: Questions, start: Start) -> list[str]:
        """One engine per process."""
        given = json.dumps({**_engine(questions, start), **questions.pixels})
        return [
            *(self._python, "-m", "muster", "run", "--model", str(questions.model), "--progress", "none"),
            *("--backend", "vllm", "--model-args", given, "--replicas", str(start.processes)),
            *("--tasks", str(questions.folder / "race.yaml"), "--output", str(start.output)),
        ]

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """What vLLM's CPU build needs; Muster's source, where it isn't installed."""
        del questions
        return {"PYTHONPATH": str(SOURCE), **(ON_CPU if start.device == "cpu" else {})}


def _engine(questions: Questions, start: Start) -> dict[str, object]:
    """Of both. Compiling the model takes longer than these few answers do, and on a CPU a compiler."""
    on_cpu = {"dtype": "float32", "enforce_eager": True} if start.device == "cpu" else {}
    at_once = {"max_num_seqs": start.batch} if start.batch else {}
    return {"max_model_len": questions.context, **at_once, **on_cpu}


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _answers(path: Path) -> Iterator[tuple[str, str]]:
    """The ids and texts in a batch's output file, as far as it is written; those that failed aren't among them."""
    with contextlib.suppress(OSError), path.open() as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
                found = json.loads(line)
                yield (
                    str(found["custom_id"]),
                    str(found["response"]["body"]["choices"][0]["message"]["content"]),
                )
