"""What of lmms-eval's tasks runs in this installation, without loading any data."""

from __future__ import annotations

import fnmatch
import importlib
import os
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muster_toolkit_wire import described

GENERATES = "generate_until"
ROUNDS = "generate_until_multi_round"
LIKELIHOODS = "multiple_choice"
_PACKAGED = frozenset({"json", "csv", "parquet", "arrow", "text", "imagefolder", "webdataset", "generator"})
_CLIENTS = frozenset(
    {"openai", "requests", "httpx", "anthropic", "aiohttp", "litellm", "google", "dashscope"}
)
NEVER_LOADED = {
    "mmsearch_end2end": "searches the web between its rounds, which isn't run: it asks DuckDuckGo at an address that "
    "is its client's own, photographs pages with playwright's Chromium, ranks texts with BAAI/bge-m3, which it fetches "
    "when it is loaded, and scores for a document that an earlier model was asked that model's answer, out of "
    "a folder of its authors' machine",
}
"""Tasks that are refused by name, and why."""
_WHY_NOT = {
    "loglikelihood": "log-likelihood of one text (not of options), which isn't run",
    "generate_until_agentic": "an agent's loop, which isn't run",
    "generate_visual_cot": "makes images, which isn't run",
}


def listing(manager: Any, only: str) -> Iterator[dict[str, Any]]:
    """A row for each task and group of the index, in alphabetical order; `only` is a pattern."""
    for name in manager.all_tasks:
        kind = manager.task_index[name]["type"]
        if only and not fnmatch.fnmatch(name, only):
            continue
        if kind in ("task", "python_task"):
            yield {"name": name, "what": "task", **_state(manager, name)}
        else:
            yield {"name": name, "what": "group", "state": "", "why": "", "folder": ""}


def _state(manager: Any, name: str) -> dict[str, str]:
    path = manager.task_index[name]["yaml_path"]
    folder = Path(path).parent.name
    if name in NEVER_LOADED:
        return {"state": "isn't run", "why": NEVER_LOADED[name], "folder": folder}
    try:
        config = manager._get_config(name)
    except BaseException as error:  # noqa: BLE001 - importing a task's code may do anything
        return {"state": "doesn't load", "why": _reason(error), "folder": folder}
    output = str(config.get("output_type") or GENERATES)
    if output not in (GENERATES, ROUNDS, LIKELIHOODS):
        return {"state": "isn't run", "why": _WHY_NOT.get(output, output), "folder": folder}
    judge = asks_judge(functions_of(config))
    if missing := _missing_data(config):
        return {"state": "needs data", "why": missing + (", and a judge" if judge else ""), "folder": folder}
    if judge:
        return {"state": "needs a judge", "why": "for some answers or all: --judge MODEL", "folder": folder}
    return {"state": "runs", "why": "", "folder": folder}


def _reason(error: BaseException) -> str:
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing:
        return f"the package of {missing.partition('.')[0]!r} is missing"
    return str(described(error))


def _missing_data(config: dict[str, Any]) -> str:
    """Why the task's dataset has to be fetched; empty where it is here."""
    named = str(config.get("dataset_path") or "")
    if not named or named in _PACKAGED or Path(named).expanduser().exists():
        return ""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"datasets--{named.replace('/', '--')}"
    made = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets") / named.replace("/", "___").lower()
    if hub.exists() or made.exists():
        return ""
    return f"{named} isn't in the hub's cache here"


def functions_of(config: dict[str, Any]) -> list[Any]:
    """What of a task's configuration scores: `process_results`, metrics and aggregations."""
    found = [config.get("process_results")]
    for metric in config.get("metric_list") or ():
        if isinstance(metric, dict):
            found += [metric.get("aggregation"), metric.get("metric")]
    return [each for each in found if callable(each)]


def asks_judge(functions: list[Any]) -> bool:
    """Whether code of a task that these functions may call uses a client of an API, or lmms-eval's own of judges."""
    seen: set[int] = set()
    waiting = list(functions)
    while waiting:
        function = waiting.pop()
        function = getattr(function, "func", function)
        if id(function) in seen:
            continue
        seen.add(id(function))
        if isinstance(function, type):
            waiting += [each for each in vars(function).values() if isinstance(each, types.FunctionType)]
            continue
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        for name in _names(code):
            value = getattr(function, "__globals__", {}).get(name)
            if value is None:
                continue
            if _is_client(value):
                return True
            if _is_theirs(value):
                waiting.append(value)
            elif _is_theirs(type(value)):
                waiting.append(type(value))
            elif isinstance(value, types.ModuleType) and value.__name__.startswith("lmms_eval.tasks"):
                waiting += [each for n in _names(code) if callable(each := getattr(value, n, None))]
    return False


def _names(code: Any) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _names(constant)
    return names


def _is_client(value: Any) -> bool:
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", "") or ""
    kind = type(value).__module__ or ""
    for each in (str(module), str(kind)):
        if each.partition(".")[0] in _CLIENTS or each.startswith("lmms_eval.llm_judge"):
            return True
    return False


def _is_theirs(value: Any) -> bool:
    """Code of a task: of lmms-eval's folder of tasks, or of a user's own."""
    if not isinstance(value, (types.FunctionType, type)):
        return False
    module = str(getattr(value, "__module__", ""))
    tasks = importlib.import_module("lmms_eval.tasks").__name__
    return module.startswith(tasks) or "." not in module
