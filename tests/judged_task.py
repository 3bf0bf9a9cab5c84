"""A benchmark that a judge grades, and judges that say what a test has them say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from api_servers import Answer, Call, chat
from muster.core import JSON
from muster.judging.judge import JudgeSpec, judge_spec
from muster.tasks.definition import Task
from muster.tasks.registry import load_tasks

_ASKED = re.compile(r"Answer: answer (s\d+)\nGrade:$")


def write_judged(folder: Path, count: int, name: str = "judged") -> Path:
    """A benchmark in MM-Vet's way: samples s0, s1 …, whose answers (of `fake_models.Echo`) are `answer s0` …"""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"s{i}",
            "question": f"Question {i}?",
            "answer": f"truth {i}",
            "metadata": {"capability": "rec"},
        }
        for i in range(count)
    ]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / f"{name}.yaml"
    task.write_text(f"name: {name}\nsource: {{file: {name}.jsonl}}\nmetric: mmvet\n")
    return task


def task_of(file: Path) -> Task:
    """The task in a file."""
    [task] = load_tasks([str(file)])
    return task


def asked_about(call: Call) -> str:
    """The id of the sample that the judge is asked about."""
    found = _ASKED.search(call.body["messages"][-1]["content"])
    assert found is not None, call.text
    return found[1]


def says(verdicts: Mapping[str, str | Answer], otherwise: str = "0.5") -> Callable[[Call], Answer]:
    """A judge's script: what it says about the sample."""

    def script(call: Call) -> Answer:
        said = verdicts.get(asked_about(call), otherwise)
        return said if isinstance(said, Answer) else chat(said)

    return script


def judge_at(url: str, model: str = "gpt-judge", timeout: float = 600.0, **args: JSON) -> JudgeSpec:
    """A judge behind a server."""
    spec = judge_spec(model, None, {"base_url": url, **args}, request_timeout=timeout)
    assert spec is not None
    return spec


def judge_options(url: str, **args: JSON) -> list[str]:
    """The same for a command line."""
    return ["--judge", "gpt-judge", "--judge-args", json.dumps({"base_url": url, **args})]
