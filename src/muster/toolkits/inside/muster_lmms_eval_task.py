"""One task of lmms-eval, loaded: what is known of it, and its documents as messages."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from muster_lmms_eval_list import GENERATES, LIKELIHOODS, ROUNDS, asks_judge, functions_of
from muster_lmms_eval_score import Scorer
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError

_SAMPLED = 2000
"""Documents whose text goes into the digest of a task's data."""
_LONGEST_CELL = 200
"""Characters of a document's field that is kept as metadata."""


class LoadedTask:
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
        task.args = command_line()
        self.output = str(task.OUTPUT_TYPE)
        self.count = len(task.eval_docs)
        self._messages: dict[int, Any] = {}
        self._rounds: dict[tuple[int, int], tuple[list[str], Any]] = {}
        """By document and repeat: the answers that the task's code was told, and what it wants to be told again."""
        if self.output == LIKELIHOODS and _asks_otherwise(task):
            self.output = "multiple_choice of several prompts"
        if self.output in (GENERATES, ROUNDS, LIKELIHOODS):
            task.build_all_requests(limit=utils.get_sample_size(task, limit), rank=0, world_size=1)
            for instance in task.instances:
                self._messages.setdefault(instance.doc_id, instance)
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
            "choices": self._choices(doc_id),
            "references": self._references(plain),
            "cells": _cells(plain),
        }

    def _choices(self, doc_id: int) -> list[str]:
        """The continuations whose likelihoods are asked, in the order of their requests."""
        if self.output != LIKELIHOODS:
            return []
        return [each.args[1] for each in self.task.instances if each.doc_id == doc_id]

    def next_round(self, doc_id: int, repeat: int, answers: list[str], media: MediaWriter) -> dict[str, Any]:
        """What a document is asked after these answers, or that they were all.

        The task's code may want to be told what it said after the last round: where that isn't known, as in a process
        that was started again, it is asked again for the rounds before.
        """
        instance = self._messages[doc_id]
        to_messages, split = instance.args[1], instance.args[-1]
        known, info = self._rounds.pop((doc_id, repeat), ([], None))
        if known != answers[:-1]:
            known, info = [], None
        for number in range(len(known) + 1, len(answers) + 1):
            said = to_messages(
                self.task.dataset[split][doc_id],
                round_idx=number,
                previous_output=answers[:number],
                previous_round_info=info,
            )
            if not (isinstance(said, tuple) and len(said) == 4):
                return {"answers": answers}
            messages, ended, told, info = said
            if ended:
                return {"answers": _texts(told, answers)}
        self._rounds[doc_id, repeat] = list(answers), info
        return {
            "messages": [
                {"role": message["role"], "parts": self._parts(message["content"], media)}
                for message in messages
            ]
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


def _asks_otherwise(task: Any) -> bool:
    """Whether options are compared by more than how likely they are after one and the same prompt."""
    metrics = {str(each.get("metric")) for each in task.config.metric_list or ()}
    return bool(getattr(task, "multiple_input", 0)) or "acc_mutual_info" in metrics


def _texts(told: Any, answers: list[str]) -> list[str | None]:
    """The answers that the task's code wants to be scored: those that it hands back with the end."""
    if isinstance(told, (list, tuple)) and told:
        return [None if each is None else str(each) for each in told]
    return list(answers)


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


def command_line() -> argparse.Namespace:
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
