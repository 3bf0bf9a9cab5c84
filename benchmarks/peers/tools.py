"""The tools of the race: how each is started as its users do, and what it has saved so far."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from muster.core import ConfigurationError
from muster.demo import demo_model_path
from muster.results.journal_read import read_entries

ANSWER_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Questions:
    """The same samples in each tool's form."""

    folder: Path
    count: int


class Tool(Protocol):
    """One tool."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    def command(self, questions: Questions, output: Path, processes: int, batch: int) -> list[str]:
        """What its users type."""
        ...

    def saved(self, output: Path) -> int:
        """Answers in its files, as far as another start would use them or a reader find them."""
        ...

    def answered(self, output: Path, said: str, count: int) -> int:
        """Answers that the model has given so far, by files or by the progress bar in what it `said`."""
        ...

    def score(self, output: Path) -> float | None:
        """The share of right answers; None without a result."""
        ...


class Muster:
    """`muster run`."""

    name = "Muster"

    def command(self, questions: Questions, output: Path, processes: int, batch: int) -> list[str]:
        """One replica per process."""
        return [
            *(sys.executable, "-m", "muster", "run", "--model", "demo", "--progress", "none"),
            *("--tasks", str(questions.folder / "digits.yaml"), "--output", str(output)),
            *("--replicas", str(processes), "--batch-size", "auto" if batch == 0 else str(batch)),
            *("--model-args", "device=cpu"),
        ]

    def saved(self, output: Path) -> int:
        """Answers in the journal, without those that failed."""
        with contextlib.suppress(ConfigurationError):
            return sum(entry.completion.failure is None for entry in read_entries(output / "journal.jsonl"))
        return 0  # its first line is being written

    def answered(self, output: Path, said: str, count: int) -> int:
        """Each is saved as it comes."""
        del said, count
        return self.saved(output)

    def score(self, output: Path) -> float | None:
        """Of results.json, where the run was finished."""
        with contextlib.suppress(OSError, KeyError):
            found = json.loads((output / "results.json").read_text())["tasks"]["race"]
            return float(found["metrics"]["accuracy"]["value"])
        return None


@dataclass(frozen=True, slots=True)
class LmmsEval:
    """lmms-eval with its response cache on, which is what it resumes from."""

    python: str
    name: str = "lmms-eval"

    def command(self, questions: Questions, output: Path, processes: int, batch: int) -> list[str]:
        """`accelerate launch` for several processes, as its README says."""
        launcher = (
            ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
            if processes > 1
            else []
        )
        arguments = f"pretrained={demo_model_path()},device=cpu,device_map=cpu,dtype=float32"
        return [
            *(self.python, *launcher, "-m", "lmms_eval", "--model", "llava_hf", "--model_args", arguments),
            *("--tasks", "race", "--include_path", str(questions.folder / "lmms_eval"), "--force_simple"),
            *("--batch_size", str(max(1, batch)), "--log_samples", "--output_path", str(output / "logs")),
            *("--use_cache", str(output / "cache")),
        ]

    def saved(self, output: Path) -> int:
        """Rows of its response caches, or of the samples that it logs at the end."""
        kept = 0
        for path in (output / "cache").rglob("*.db"):
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
            ):
                kept = max(kept, int(db.execute("select count(*) from responses").fetchone()[0]))
        logged = sum(path.read_bytes().count(b"\n") for path in (output / "logs").rglob("*samples*.jsonl"))
        return max(kept, logged)

    def answered(self, output: Path, said: str, count: int) -> int:
        """By its progress bar."""
        del output
        shown = re.findall(r"Model Responding: +(\d+)%", said)
        return int(shown[-1]) * count // 100 if shown else 0

    def score(self, output: Path) -> float | None:
        """Of its results file."""
        for path in sorted((output / "logs").rglob("*results.json")):
            for name, value in json.loads(path.read_text()).get("results", {}).get("race", {}).items():
                if name.startswith("accuracy,"):
                    return float(value)
        return None
