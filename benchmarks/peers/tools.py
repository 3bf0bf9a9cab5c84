"""The tools of the race: how each is started as its users do, and what it has saved so far."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.peers.pickled import entries
from muster.core import ConfigurationError
from muster.results.journal_read import read_entries

INSIDE = Path(__file__).with_name("inside")


@dataclass(frozen=True, slots=True)
class Questions:
    """The same samples in each tool's form, and who is asked."""

    folder: Path
    count: int
    model: Path
    tokens: int
    """At most, per answer."""
    wrapper: str
    """lmms-eval's model class for it."""
    wrapper_args: str = ""
    """Further arguments of that class, comma-separated."""
    context: int = 256
    """Tokens of a prompt and its answer, at most: for engines, which keep room for them."""
    pixels: Mapping[str, int] = field(default_factory=dict)
    """What the model's processor is told, where something."""


@dataclass(frozen=True, slots=True)
class Start:
    """How a run is started."""

    output: Path
    processes: int
    batch: int
    """0: the tool's default."""
    device: str
    """`cpu` or `cuda`."""


class Tool(Protocol):
    """One tool."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def has_batches(self) -> bool:
        """Whether it can be told how many answers to ask for at once."""
        ...

    @property
    def most_processes(self) -> int | None:
        """How many processes with a model it can have; None: any number."""
        ...

    def command(self, questions: Questions, start: Start) -> list[str]:
        """What its users type."""
        ...

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """Variables that its users set."""
        ...

    def saved(self, output: Path) -> int:
        """Answers in its files, as far as another start would use them or a reader find them."""
        ...

    def last_answer(self, output: Path) -> float | None:
        """When the last answer was there, unix seconds, where the end of `generate` doesn't say it."""
        ...

    def score(self, questions: Questions, output: Path) -> float | None:
        """The share of right answers; None without a result."""
        ...


class Muster:
    """`muster run`."""

    name = "Muster"
    has_batches = True
    most_processes: int | None = None

    def command(self, questions: Questions, start: Start) -> list[str]:
        """One replica per process."""
        return [
            *(sys.executable, "-m", "muster", "run", "--model", str(questions.model), "--progress", "none"),
            *("--tasks", str(questions.folder / "race.yaml"), "--output", str(start.output)),
            *("--replicas", str(start.processes), "--batch-size", str(start.batch or "auto")),
            *("--model-args", f"device={start.device}"),
        ]

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """None."""
        del questions, start
        return {}

    def saved(self, output: Path) -> int:
        """Answers in the journal, without those that failed."""
        with contextlib.suppress(ConfigurationError):
            return sum(entry.completion.failure is None for entry in read_entries(output / "journal.jsonl"))
        return 0  # its first line is being written

    def last_answer(self, output: Path) -> float | None:
        """By the journal: rows that run together don't end with a call of `generate`."""
        with contextlib.suppress(ConfigurationError):
            return max((entry.at for entry in read_entries(output / "journal.jsonl")), default=None)
        return None

    def score(self, questions: Questions, output: Path) -> float | None:
        """Of results.json, where the run was finished."""
        del questions
        with contextlib.suppress(OSError, KeyError):
            found = json.loads((output / "results.json").read_text())["tasks"]["race"]
            return float(found["metrics"]["accuracy"]["value"])
        return None


@dataclass(frozen=True, slots=True)
class LmmsEval:
    """lmms-eval with its response cache on, which is what it resumes from."""

    python: str
    name: str = "lmms-eval"
    has_batches: bool = True
    most_processes: int | None = None

    def command(self, questions: Questions, start: Start) -> list[str]:
        """On GPUs `accelerate launch`, as its README says; on a CPU that starts one process, so `torchrun` does it."""
        many: list[str] = []
        if start.processes > 1 and start.device == "cuda":
            many = [
                "-m",
                "accelerate.commands.launch",
                "--multi_gpu",
                "--num_processes",
                str(start.processes),
            ]
        elif start.processes > 1:
            many = torchrun(start.processes)
        arguments = f"pretrained={questions.model},device={start.device}"
        if start.device == "cpu":
            arguments += ",device_map=cpu"
        if questions.wrapper_args:
            arguments += f",{questions.wrapper_args}"
        return [
            *(self.python, *many, "-m", "lmms_eval", "--model", questions.wrapper, "--model_args", arguments),
            *("--tasks", "race", "--include_path", str(questions.folder / "lmms_eval"), "--force_simple"),
            *("--batch_size", str(start.batch or 1), "--log_samples"),
            *("--output_path", str(start.output / "logs"), "--use_cache", str(start.output / "cache")),
        ]

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """Its accelerate is told that there is no GPU."""
        del questions
        return {"ACCELERATE_USE_CPU": "true"} if start.device == "cpu" else {}

    def saved(self, output: Path) -> int:
        """Rows of its response caches, or of the samples that it logs at the end."""
        kept: set[str] = set()
        for path in (output / "cache").rglob("*.db"):
            with (
                contextlib.suppress(sqlite3.Error),
                contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db,
            ):
                kept.update(key for (key,) in db.execute("select cache_key from responses"))
        logged = sum(path.read_bytes().count(b"\n") for path in (output / "logs").rglob("*samples*.jsonl"))
        return max(len(kept), logged)

    def last_answer(self, output: Path) -> float | None:
        """Each call of `generate` ends with its answers."""
        del output
        return None

    def score(self, questions: Questions, output: Path) -> float | None:
        """Of its results file."""
        del questions
        for path in sorted((output / "logs").rglob("*results.json")):
            for name, value in json.loads(path.read_text()).get("results", {}).get("race", {}).items():
                if name.startswith("accuracy,"):
                    return float(value)
        return None


@dataclass(frozen=True, slots=True)
class VLMEvalKit:
    """VLMEvalKit's `run.py` from a checkout, with a model and a dataset of the user's own (`inside/`)."""

    python: str
    checkout: Path
    name: str = "VLMEvalKit"
    has_batches: bool = False
    most_processes: int | None = None

    def command(self, questions: Questions, start: Start) -> list[str]:
        """`torchrun` for several processes, as its quickstart says; `--reuse` is what it resumes by."""
        model = {
            "class": "RaceModel",
            "model_path": str(questions.model),
            "max_new_tokens": questions.tokens,
        }
        config = {"model": {"race": model}, "data": {"race": {"class": "RaceDataset", "dataset": "race"}}}
        start.output.mkdir(parents=True, exist_ok=True)
        (start.output / "config.json").write_text(json.dumps(config))
        return [
            self.python,
            *(torchrun(start.processes) if start.processes > 1 else []),
            *(str(self.checkout / "run.py"), "--config", str(start.output / "config.json")),
            *("--work-dir", str(start.output / "work"), "--reuse"),
        ]

    def environment(self, questions: Questions, start: Start) -> Mapping[str, str]:
        """Where its data is; a library that it imports is kept from asking the network for prices."""
        del start
        return {"LMUData": str(questions.folder / "vlmevalkit"), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def saved(self, output: Path) -> int:
        """Entries of the pickles that it writes every ten answers, counted without loading them, or of the table."""
        runs = [
            path for path in (output / "work" / "race").glob("*") if path.is_dir() and not path.is_symlink()
        ]
        return max((self._saved(run) for run in runs), default=0)

    def _saved(self, run: Path) -> int:
        if table := next(run.glob("race_race.*"), None):
            return _xlsx_rows(table)
        return sum(entries(path) for path in run.glob("[0-9]*_race.pkl"))

    def last_answer(self, output: Path) -> float | None:
        """Each call of `generate` ends with its answer."""
        del output
        return None

    def score(self, questions: Questions, output: Path) -> float | None:
        """Of the newest run's status file."""
        del questions
        for path in sorted((output / "work" / "race").glob("*/status.json"), reverse=True):
            found = re.search(r'"Overall": ([0-9.]+)', path.read_text())
            if found:
                return float(found[1])
        return None


def torchrun(processes: int) -> list[str]:
    """The arguments of an interpreter that starts `processes` of what follows."""
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]


def _xlsx_rows(path: Path) -> int:
    """Without the header; 0 while it is being written."""
    try:
        with zipfile.ZipFile(path) as book:
            return book.read("xl/worksheets/sheet1.xml").count(b"<row ") - 1
    except (OSError, zipfile.BadZipFile, KeyError):
        return 0
