"""Runs inside the interpreter that has lmms-eval: lists its tasks, renders their documents, scores answers to them.

Everything that decides a number is lmms-eval's own code: loading, `doc_to_messages`, filters over all answers,
`process_results`, aggregation, group scores. Each task is seeded and treated as if it were evaluated alone, in one
process, so that a score doesn't depend on what else a run asks.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - last: it shadows nothing

from muster_lmms_eval_list import LIKELIHOODS, NEVER_LOADED, listing
from muster_lmms_eval_score import Scorer
from muster_lmms_eval_task import LoadedTask, command_line
from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError, Wire, described, serve, start

Frames = Iterator["tuple[dict[str, Any], Sequence[bytes]]"]


class LmmsEval:
    """The installation, and the tasks that were loaded from it."""

    def __init__(self, wire: Wire, judge: JudgeEndpoint) -> None:
        self._judge = judge
        self._manager: Any = None
        self._tasks: dict[str, LoadedTask] = {}
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
            if name in NEVER_LOADED:
                raise RefusedError(f"lmms-eval:{name} {NEVER_LOADED[name]}")
            tasks: Any = importlib.import_module("lmms_eval.tasks")
            try:
                tree = tasks.get_task_dict([name], self._manager, "chat")
            except Exception as error:
                raise RefusedError(f"lmms-eval can't load {name}: {described(error)}") from error
            self._trees[name] = tree
            for task_name, chat_task in _leaves(tree):
                task = self._asked_simply(task_name, chat_task)
                loaded = LoadedTask(task_name, task, self._manager, request["limit"], request["model_name"])
                self._tasks[task_name] = loaded
                yield {"about": "task", "asked": name, **loaded.facts()}, ()
            for group, members in _groups(tree).items():
                yield {"about": "group", "name": group, "tasks": members}, ()

    def _asked_simply(self, name: str, task: Any) -> Any:
        """The task; one that compares options as lmms-eval's simple models get it, as its chat models don't."""
        if str(task.OUTPUT_TYPE) != LIKELIHOODS:
            return task
        tasks: Any = importlib.import_module("lmms_eval.tasks")
        [(_name, simple)] = _leaves(tasks.get_task_dict([name], self._manager, "simple"))
        return simple

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

    def round(self, request: dict[str, Any]) -> Frames:
        """What a document is asked after the answers to its rounds so far, or that they were all."""
        media = MediaWriter()
        loaded, document = self._tasks[request["task"]], int(request["document"])
        row = loaded.next_round(document, request["repeat"], list(request["answers"]), media)
        yield row, media.take()

    def score(self, request: dict[str, Any]) -> Frames:
        """Score the answers to a task: one row for each document, then one with the aggregates."""
        loaded = self._tasks[request["task"]]
        answers = [(int(doc_id), texts) for doc_id, texts in request["answers"]]
        scorer = Scorer(loaded.name, loaded.task, loaded.state, self._judge, answers)
        loaded.scorers[request["repeat"]] = scorer
        yield from ((row, ()) for row in scorer.rows(command_line()))

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
            "round": toolkit.round,
            "score": toolkit.score,
            "aggregate": toolkit.aggregate,
            "groups": toolkit.groups,
        },
    )


if __name__ == "__main__":
    main()
