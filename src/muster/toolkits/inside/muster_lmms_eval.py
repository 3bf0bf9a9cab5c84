"""Runs inside the interpreter that has lmms-eval: lists its tasks, renders their documents, scores answers to them.

Everything that decides a number is lmms-eval's own code: loading, `doc_to_messages`, filters over all answers,
`process_results`, aggregation, group scores. Each task is seeded and treated as if it were evaluated alone, in one
process, so that a score doesn't depend on what else a run asks.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - last: it shadows nothing

from muster_lmms_eval_list import asks_judge, functions_of, listing
from muster_lmms_eval_score import Scorer
from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError, Wire, described, serve, start

Frames = Iterator["tuple[dict[str, Any], Sequence[bytes]]"]
GENERATES = "generate_until"
_SAMPLED = 2000
"""Documents whose text goes into the digest of a task's data."""
_LONGEST_CELL = 200
"""Characters of a document's field that is kept as metadata."""


class LmmsEval:
    """The installation, and the tasks that were loaded from it."""

    def __init__(self, wire: Wire, judge: JudgeEndpoint) -> None:
        self._judge = judge
        self._manager: Any = None
        self._tasks: dict[str, _Loaded] = {}
        self._trees: dict[str, Any] = {}
        self._wire = wire

    def hello(self, request: dict[str, Any]) -> Frames:
        """Import it and index its tasks."""
        try:
            importlib.import_module("lmms_eval.evaluator")
        except ImportError as error:
            raise RefusedError(f"lmms-eval can't be imported by {sys.executable}: {error}") from error
        tasks: Any = importlib.import_module("lmms_eval.tasks")
        from loguru import logger

        logger.remove()
        logger.add(sys.stderr, level="WARNING")
        _prepare_process()
        include = list(request["include_path"]) or None
        self._manager = tasks.TaskManager("ERROR", include_path=include, model_name=request["model_name"])
        yield {"version": importlib.metadata.version("lmms_eval"), "python": sys.version.split()[0]}, ()

    def list(self, request: dict[str, Any]) -> Frames:
        """Every task and group, with what keeps it from running here."""
        for row in listing(self._manager, str(request.get("only") or "")):
            yield row, ()

    def load(self, request: dict[str, Any]) -> Frames:
        """Load tasks by name or group; one row for each task, then one for each group."""
        for name in request["names"]:
            if name not in self._manager.task_index:
                raise RefusedError(f"lmms-eval has no task or group {name!r}")
            tasks: Any = importlib.import_module("lmms_eval.tasks")
            try:
                tree = tasks.get_task_dict([name], self._manager, "chat")
            except Exception as error:
                raise RefusedError(f"lmms-eval can't load {name}: {described(error)}") from error
            self._trees[name] = tree
            for task_name, task in _leaves(tree):
                loaded = _Loaded(task_name, task, self._manager, request["limit"], request["model_name"])
                self._tasks[task_name] = loaded
                yield {"about": "task", "asked": name, **loaded.facts()}, ()
            for group, members in _groups(tree).items():
                yield {"about": "group", "name": group, "tasks": members}, ()

    def render(self, request: dict[str, Any]) -> Frames:
        """The documents of a task, each with its messages and media."""
        loaded, media = self._tasks[request["task"]], MediaWriter()
        wanted = request["docs"]
        for doc_id in range(loaded.count) if wanted is None else wanted:
            try:
                row = loaded.rendered(doc_id, media)
            except Exception as error:  # noqa: BLE001 - the task's code; this document can't be asked
                media.take()
                row = {"id": doc_id, "fault": described(error)}
            yield row, media.take()

    def score(self, request: dict[str, Any]) -> Frames:
        """Score the answers to a task: one row for each document, then one with the aggregates."""
        loaded = self._tasks[request["task"]]
        answers = [(int(doc_id), texts) for doc_id, texts in request["answers"]]
        scorer = Scorer(loaded.name, loaded.task, loaded.state, self._judge, answers)
        loaded.scorers[request["repeat"]] = scorer
        yield from ((row, ()) for row in scorer.rows(_arguments()))

    def aggregate(self, request: dict[str, Any]) -> Frames:
        """The aggregates of some of the documents that were scored, with repetitions."""
        scorer = self._tasks[request["task"]].scorers[request["repeat"]]
        yield {"values": scorer.aggregate([int(each) for each in request["documents"]])}, ()

    def groups(self, _request: dict[str, Any]) -> Frames:
        """The scores of the groups that were asked for, from those of their tasks, by lmms-eval's own rule."""
        utils: Any = importlib.import_module("lmms_eval.evaluator_utils")
        for name, tree in self._trees.items():
            names = [task for task, _ in _leaves(tree)]
            if not _groups(tree) or not all(self._tasks[each].scorers for each in names):
                continue
            results = {task: self._tasks[task].result() for task in names}
            for group in _groups(tree):
                results.setdefault(group, {})
            try:
                results, *_rest = utils.consolidate_group_results(results, {}, tree)
            except Exception as error:  # noqa: BLE001 - their code, on this run's scores
                yield {"name": name, "problem": described(error)}, ()
                continue
            for group, members in _groups(tree).items():
                values = {
                    key.removesuffix(",none"): float(value)
                    for key, value in results[group].items()
                    if isinstance(value, (int, float)) and "_stderr" not in key and key != "samples"
                }
                yield {"name": group, "tasks": members, "values": values}, ()


class _Loaded:
    """One task, with everything that is known of it before a model answers."""

    def __init__(
        self, name: str, task: Any, manager: Any, limit: float | None, model_name: str | None
    ) -> None:
        self.name, self.task = name, task
        self._manager, self._model_name = manager, model_name
        self.scorers: dict[int, Scorer] = {}
        """By repeat, of those that were scored."""
        utils: Any = importlib.import_module("lmms_eval.evaluator_utils")
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=1234)
        task.args = _arguments()
        self.output = str(task.OUTPUT_TYPE)
        self.count = len(task.eval_docs)
        self._messages: dict[int, Any] = {}
        if self.output == GENERATES:
            task.build_all_requests(limit=utils.get_sample_size(task, limit), rank=0, world_size=1)
            self._messages = {instance.doc_id: instance for instance in task.instances}
        self.state = _random_state()

    def facts(self) -> dict[str, Any]:
        """What Muster has to know of the task."""
        config = self.task.dump_config()
        return {
            "name": self.name,
            "output": self.output,
            "count": self.count,
            "repeats": int(getattr(self.task.config, "repeats", 1) or 1),
            "generation": self._generation(),
            "metrics": [str(name) for name in self.task.aggregation()],
            "higher_is_better": {str(k): v for k, v in self.task.higher_is_better().items()},
            "version": str(self.task.VERSION),
            "dataset": str(getattr(self.task, "DATASET_PATH", None) or ""),
            "subset": str(getattr(self.task, "DATASET_NAME", None) or ""),
            "split": str(self.task.config.test_split or self.task.config.validation_split or ""),
            "config": self._config_digest(config),
            "data": self._data_digest(),
            "files": _dataset_stamp(self.task),
            "interval_by": str(getattr(self.task.config, "cluster_key", None) or ""),
            "may_ask": asks_judge(functions_of(vars(self.task.config))),
        }

    def rendered(self, doc_id: int, media: MediaWriter) -> dict[str, Any]:
        """One document as it is asked."""
        instance = self._messages.get(doc_id)
        if instance is None:
            raise RefusedError("it is beyond --limit")
        split = instance.args[-1]
        doc = self.task.dataset[split][doc_id]
        messages = [
            {"role": message["role"], "parts": self._parts(message["content"], media)}
            for message in _messages_of(instance.args, doc)
        ]
        plain = self.task.eval_docs_no_media[doc_id]
        return {
            "id": doc_id,
            "messages": messages,
            "references": self._references(plain),
            "cells": _cells(plain),
        }

    def _parts(self, content: Any, media: MediaWriter) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"text": content}]
        parts: list[dict[str, Any]] = []
        for piece in content:
            if piece["type"] == "text":
                parts.append({"text": str(piece["text"])})
            elif piece["type"] in ("image", "video"):
                times = {key: piece[key] for key in ("start_time", "end_time") if piece.get(key) is not None}
                value = {"url": piece["url"], **times} if times else piece["url"]
                parts += [{"media": item} for item in media.media(value, piece["type"])]
            else:
                raise RefusedError(
                    f"its prompt has {piece['type']}, and Muster asks about text, images and videos"
                )
        return parts

    def _references(self, doc: Any) -> list[str]:
        try:
            target = self.task.doc_to_target(doc)
        except Exception:  # noqa: BLE001 - for display only; scoring asks the task's own code
            return []
        listed = target if isinstance(target, (list, tuple)) else [target]
        return [str(each) for each in listed if each is not None][:20]

    def _generation(self) -> dict[str, Any]:
        given = {
            name: value
            for name, value in dict(self.task.config.generation_kwargs or {}).items()
            if value is not None
        }
        temperature, tokens = given.pop("temperature", None), given.pop("max_new_tokens", None)
        until = given.pop("until", ()) if self._until_is_own() else given.pop("until", ()) and ()
        sampled = bool(given.pop("do_sample", bool(temperature)))
        beams = given.pop("num_beams", 1)
        facts: dict[str, Any] = {
            "max_new_tokens": int(tokens if tokens is not None else given.pop("max_gen_toks", 0)) or None,
            "do_sample": sampled,
            "temperature": None if temperature is None else float(temperature),
            "top_p": _positive(given.pop("top_p", None)),
            "top_k": None if not (top_k := _positive(given.pop("top_k", None))) else int(top_k),
            "until": [until] if isinstance(until, str) else [str(each) for each in until if each],
        }
        others = [f"{name}={value}" for name, value in given.items()]
        return {**facts, "others": others + ([f"num_beams={beams}"] if beams != 1 else [])}

    def _until_is_own(self) -> bool:
        """Whether the task's file says `until`; where it doesn't, lmms-eval puts the few-shot delimiter there."""
        try:
            written = self._manager._get_config(self.name).get("generation_kwargs") or {}
        except Exception:  # noqa: BLE001 - a task that a Python class makes
            return False
        return "until" in written

    def _config_digest(self, config: dict[str, Any]) -> str:
        sources = sorted({_source(value) for value in _callables(vars(self.task.config)) if _source(value)})
        digest = hashlib.blake2b(digest_size=16)
        shown = json.dumps(
            config, default=lambda value: getattr(value, "__qualname__", type(value).__name__), sort_keys=True
        )
        digest.update(_without_addresses(shown).encode() + str(self._model_name).encode())
        for source in sources:
            for file in sorted(Path(source).parent.glob("*.py")):
                digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    def _data_digest(self) -> str:
        """Of the number of documents and of the text of up to 2,000 of them, evenly spread."""
        docs = self.task.eval_docs_no_media
        digest = hashlib.blake2b(str(self.count).encode(), digest_size=16)
        for place in range(0, self.count, max(1, self.count // _SAMPLED)):
            digest.update(json.dumps(docs[place], default=_shape, sort_keys=True).encode(errors="replace"))
        return digest.hexdigest()

    def result(self) -> dict[str, Any]:
        """What lmms-eval's table of results has of it."""
        scorers = list(self.scorers.values())
        errors = {"_stderr,".join(name.split(",")): "N/A" for name in scorers[0].raw}  # it wants to see some
        common = {"alias": self.name, "samples": scorers[0].counted, **errors}
        if len(scorers) == 1:
            return {**common, **scorers[0].raw}
        means = {
            name: sum(each.raw[name] for each in scorers) / len(scorers)
            for name, value in scorers[0].raw.items()
            if isinstance(value, (int, float)) and all(name in each.raw for each in scorers)
        }
        return {**common, **means}


def _messages_of(arguments: tuple[Any, ...], doc: Any) -> list[dict[str, Any]]:
    """The conversation: from `doc_to_messages`, or for tasks of the older form the pictures and then the text."""
    if callable(arguments[1]):
        messages: list[dict[str, Any]] = arguments[1](doc)
        return messages
    context, _settings, to_visual = arguments[:3]
    shown = to_visual(doc) if callable(to_visual) else None
    content = [{"type": _kind(each), "url": each} for each in (shown or [])]
    return [{"role": "user", "content": [*content, {"type": "text", "text": context}]}]


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return (
            "image"
            if Path(value).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
            else "video"
        )
    if isinstance(value, dict):
        return "audio" if "array" in value else str(value.get("type", "video"))
    return "image"


def _cells(doc: Any) -> dict[str, Any]:
    """The document's short fields: categories, ids, what breakdowns and readers want."""
    kept: dict[str, Any] = {}
    for name, value in dict(doc).items():
        short = isinstance(value, str) and len(value) <= _LONGEST_CELL
        finite = isinstance(value, float) and value - value == 0
        if value is None or isinstance(value, (bool, int)) or short or finite:
            kept[str(name)] = value
    return kept


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        if isinstance(value, dict):
            found += _leaves(value)
        else:
            found.append((str(name), value[1] if isinstance(value, tuple) else value))
    return found


def _groups(tree: Any) -> dict[str, list[str]]:
    """Every group in the tree with all tasks below it."""
    found: dict[str, list[str]] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found[str(getattr(key, "group_name", key))] = [name for name, _ in _leaves(value)]
            found.update(_groups(value))
    return found


def _positive(value: Any) -> float | None:
    return float(value) if value is not None and float(value) > 0 else None


def _callables(value: Any) -> Iterator[Any]:
    if callable(value):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _callables(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _callables(each)


def _source(value: Any) -> str:
    function = getattr(value, "func", value)
    return str(getattr(getattr(function, "__code__", None), "co_filename", "") or "")


def _without_addresses(text: str) -> str:
    import re

    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _shape(value: Any) -> str:
    return f"{type(value).__name__} {getattr(value, 'size', '')}"


def _dataset_stamp(task: Any) -> str:
    """Changes with the dataset's files, where `datasets` knows them: names what was rendered from them."""
    docs = task.eval_docs
    return str(getattr(docs, "_fingerprint", "")) or str(time.time_ns())


def _random_state() -> tuple[Any, Any]:
    numpy: Any = importlib.import_module("numpy")
    return random.getstate(), numpy.random.get_state()


def _arguments() -> argparse.Namespace:
    """What a command line of lmms-eval would have said, for tasks whose aggregation asks."""
    main: Any = importlib.import_module("lmms_eval.__main__")
    given, sys.argv = sys.argv, ["lmms_eval", "--output_path", "submissions"]
    try:
        parsed = main.parse_eval_args()
    finally:
        sys.argv = given
    arguments: argparse.Namespace = parsed[-1] if isinstance(parsed, tuple) else parsed
    arguments.output_path = str(Path.cwd() / "submissions")
    arguments.model = "muster"
    return arguments


def _prepare_process() -> None:
    """What `simple_evaluate` does to its process before it loads tasks; seeds before each, so that order is nothing."""
    evaluator: Any = importlib.import_module("lmms_eval.evaluator")
    with contextlib.suppress(
        ImportError
    ):  # it reaches into a library of which some releases have no such part
        getattr(evaluator, "_enable_reentrant_filelocks", lambda: None)()
    api: Any = importlib.import_module("lmms_eval.api.task")
    numpy: Any = importlib.import_module("numpy")
    torch: Any = importlib.import_module("torch")
    load = api.ConfigurableTask.__init__

    def seeded(self: Any, *args: Any, **kwargs: Any) -> None:
        random.seed(0)
        numpy.random.seed(1234)
        torch.manual_seed(1234)
        load(self, *args, **kwargs)

    api.ConfigurableTask.__init__ = seeded
    torch.set_num_threads(1)


def main() -> None:
    """Serve until the other end is gone."""
    wire = start(sys.argv[1:])
    judge = JudgeEndpoint(wire)
    judge.announce()
    toolkit = LmmsEval(wire, judge)
    serve(
        wire,
        {
            "hello": toolkit.hello,
            "list": toolkit.list,
            "load": toolkit.load,
            "render": toolkit.render,
            "score": toolkit.score,
            "aggregate": toolkit.aggregate,
            "groups": toolkit.groups,
        },
    )


if __name__ == "__main__":
    main()
