"""Runs inside the interpreter that has VLMEvalKit: lists its datasets, renders their rows, scores predictions.

Everything that decides a number is VLMEvalKit's own code: `build_dataset`, `build_prompt`, `dump_image`, and `evaluate`
on a prediction file that its own `dump` writes. It evaluates strings of some data sets as code; only here.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - last: it shadows nothing

from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError, Wire, described, serve, start
from muster_vlmevalkit_dialogues import is_dialogue, parts, predictions, row_of, turns
from muster_vlmevalkit_imports import import_vlmevalkit

Frames = Iterator["tuple[dict[str, Any], Sequence[bytes]]"]
JUDGE = "gpt-4o-mini"
"""What it calls the judge; Muster's answers, whatever the name."""
NOBODY = "exact_matching"
NO_JUDGE = "a judge would have to be asked: --judge MODEL names one (docs/judges.md)"
_LONGEST_CELL = 200
_MEDIA = ("image", "image_path", "video", "video_path")
_MAIN = (
    r"overall",
    r"overall\.(overall|acc|accuracy|score|aAcc)",
    r"(all|total|final|average)\.overall[ _]score|(.*\.)?overall([ _](score|acc|accuracy))?",
    r"(.*\.)?(acc|accuracy|score|final.score.*)",
)
"""What it calls the number that stands for a dataset, by how sure that is."""
_WORTH = ("hit", "score", "eval_score", "eval_match", "match")
"""Columns of the tables that it leaves behind in which it says what an answer is worth."""


class VLMEvalKit:
    """The installation, and the datasets that were built from it."""

    def __init__(self, judge: JudgeEndpoint) -> None:
        self._judge = judge
        self._kit: Any = None
        self._built: dict[str, Any] = {}

    def hello(self, request: dict[str, Any]) -> Frames:
        """Import its datasets."""
        package = import_vlmevalkit(request.get("path"), "dataset", "vlm", "api")
        self._kit = importlib.import_module("vlmeval.dataset")
        _announce(self._judge)  # again: it has read the keys of its checkout's .env
        yield {"version": str(getattr(package, "__version__", "?")), "python": sys.version.split()[0]}, ()

    def list(self, request: dict[str, Any]) -> Frames:
        """Every dataset by name. Their files aren't looked at."""
        import fnmatch

        root = Path(importlib.import_module("vlmeval.smp").LMUDataRoot())
        for name in sorted(self._names()):
            if request.get("only") and not fnmatch.fnmatch(name, request["only"]):
                continue
            here = (root / f"{name}.tsv").exists()
            state = (
                {"state": "runs", "why": ""}
                if here
                else {"state": "needs data", "why": f"{name}.tsv isn't here"}
            )
            yield {"name": name, "what": "task", "folder": "", **state}, ()

    def load(self, request: dict[str, Any]) -> Frames:
        """Build datasets by name."""
        for name in request["names"]:
            random.seed(0)
            try:
                dataset = self._kit.build_dataset(name)
            except BaseException as error:
                raise RefusedError(f"VLMEvalKit can't build {name}: {described(error)}") from error
            if dataset is None:
                raise RefusedError(f"VLMEvalKit has no dataset {name!r}")
            self._built[name] = dataset
            yield {"about": "task", "asked": name, **_facts(name, dataset)}, ()

    def render(self, request: dict[str, Any]) -> Frames:
        """The rows of a dataset, each with its message."""
        dataset, media = self._built[request["task"]], MediaWriter()
        data = dataset.data
        names = [str(each) for each in data["index"]]
        wanted = request["docs"]
        if wanted is None:
            places = list(range(len(names)))
        elif any(isinstance(each, str) for each in wanted):
            asked = {row_of(dataset, str(each)) for each in wanted}
            places = [place for place, name in enumerate(names) if name in asked]
        else:
            places = list(wanted)
        for place in places:
            try:
                if is_dialogue(dataset):
                    rows = list(turns(dataset, names[place], data.iloc[place], media))
                else:
                    row = _rendered(dataset, data.iloc[place], media)
                    rows = [({"id": names[place], **row}, media.take())]
            except BaseException as error:  # noqa: BLE001 - the dataset's code; this row can't be asked
                media.take()
                rows = [({"id": names[place], "fault": described(error)}, ())]
            yield from rows

    def score(self, request: dict[str, Any]) -> Frames:
        """Score predictions: one row for each, then one with the aggregates."""
        name = request["task"]
        self._judge.task, self._judge.document, self._judge.refused = name, "", ""
        files: Any = importlib.import_module("vlmeval.smp.file")
        folder = Path.cwd() / f"{name}-{request['repeat']}"
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        dataset = self._built[name]
        texts: dict[str, Any] = {str(index): str(said[0]) for index, said in request["answers"]}
        answers, cut = predictions(dataset, texts) if is_dialogue(dataset) else (texts, set())
        data = dataset.data[[str(each) in answers for each in dataset.data["index"]]].copy()
        data["prediction"] = [answers[str(each)] for each in data["index"]]
        data = data.drop(columns=[each for each in ("image",) if each in data])
        written = folder / f"muster_{name}.{files.get_pred_file_format()}"
        files.dump(data, str(written))
        judged = bool(request.get("judge"))
        random.seed(0)
        problems: list[str] = []
        values: dict[str, float | None] = {}
        try:
            with nullcontext() if judged else _nobody_answers(self._judge):
                found = dataset.evaluate(
                    str(written),
                    model=JUDGE if judged else NOBODY,
                    nproc=1 if judged else 4,  # it guesses at random where it can't read a verdict
                    verbose=False,
                    retry=3,
                )
            values = _main_first(dict(_numbers(found)))
            if not values:
                problems.append(f"no number (it gave {type(found).__name__})")
        except BaseException as error:  # noqa: BLE001 - the dataset's code
            problems.append(described(error))
        worth = _worth(folder, files)
        whole = bool(worth) and set(worth) == set(texts)
        means = {} if self._judge.refused or not whole else _means(values, list(worth.values()))
        label = next(iter(means), "score")
        for index in texts:
            if row_of(dataset, index) in cut:
                yield {"id": index, "unscored": "a turn of its dialogue has no answer"}, ()
            else:
                yield {"id": index, "scores": {label: worth[index]} if whole else {}}, ()
        yield (
            {
                "about": "task",
                "values": {} if self._judge.refused else values,
                "unscored": self._judge.refused,
                "problems": problems,
                "files": [f"{folder.name}/{file.name}" for file in folder.iterdir() if file.suffix != ".pkl"],
                "resample": False,
                "means": means,
            },
            (),
        )

    def groups(self, _request: dict[str, Any]) -> Frames:
        """It has none."""
        yield from ()

    def _names(self) -> set[str]:
        names: set[str] = set()
        for kind in self._kit.DATASET_CLASSES:
            names.update(map(str, kind.supported_datasets()))
        names.update(map(str, getattr(self._kit, "supported_video_datasets", {})))
        return names


def _facts(name: str, dataset: Any) -> dict[str, Any]:
    asked = hasattr(dataset, "build_prompt")
    source = Path(inspect.getsourcefile(type(dataset)) or "")
    code = hashlib.blake2b(source.read_bytes() if source.is_file() else b"", digest_size=16)
    data = dataset.data.drop(columns=[each for each in _MEDIA if each in dataset.data])
    text = data.to_csv(index=False).encode(errors="replace")
    stamp = [
        (each, Path(each).stat().st_size)
        for each in [str(getattr(dataset, "data_path", "") or "")]
        if Path(each).is_file()
    ]
    return {
        "name": name,
        "output": "generate_until" if asked else "of no prompts",
        "count": len(dataset.data),
        "repeats": 1,
        "generation": {},
        "metrics": ["Overall"],
        "higher_is_better": {},
        "version": "1",
        "dataset": name,
        "subset": "",
        "split": "",
        "config": code.hexdigest(),
        "data": hashlib.blake2b(text, digest_size=16).hexdigest(),
        "files": json.dumps(stamp),
        "may_ask": True,
        "numbered": False,
    }


def _rendered(dataset: Any, line: Any, media: MediaWriter) -> dict[str, Any]:
    takes_video = "video_llm" in inspect.signature(dataset.build_prompt).parameters
    message = dataset.build_prompt(line, video_llm=False) if takes_video else dataset.build_prompt(line)
    said: list[dict[str, Any]] = []
    for piece in message:
        role = piece.get("role", "user")
        if not said or said[-1]["role"] != role:
            said.append({"role": role, "parts": []})
        said[-1]["parts"] += parts([piece], media)
    answer = line.get("answer")
    return {
        "messages": said,
        "references": [] if answer is None or answer != answer else [str(answer)],
        "cells": {
            str(name): str(value)
            for name, value in dict(line).items()
            if str(name) not in _MEDIA and value == value and len(str(value)) <= _LONGEST_CELL
        },
    }


def _numbers(found: Any) -> Iterator[tuple[str, float | None]]:
    """The numbers of what `evaluate` gave, by name: of a table with splits, each column with its split."""
    pd: Any = importlib.import_module("pandas")

    if isinstance(found, pd.DataFrame):
        label = _label(found) if len(found) > 1 else None
        for _place, row in found.iterrows():
            prefix = f"{row[label]}." if label else ""
            for name, value in row.items():
                yield from _leaf(f"{prefix}{name}", value)
        return
    yield from _leaf("", found)


def _label(table: Any) -> str | None:
    """The column that names the rows: one of the usual, else the first whose texts are all different."""
    usual = next((each for each in ("split", "category", "Category") if each in table), None)
    texts = (
        each
        for each in table
        if all(isinstance(value, str) for value in table[each]) and table[each].is_unique
    )
    return usual or next(texts, None)


def _main_first(values: dict[str, float | None]) -> dict[str, float | None]:
    """The numbers, those that stand for the dataset in front: Muster shows the first."""

    def rank(name: str) -> int:
        return next(
            (place for place, form in enumerate(_MAIN) if re.fullmatch(form, name, re.IGNORECASE)), len(_MAIN)
        )

    return dict(sorted(values.items(), key=lambda each: rank(each[0])))


def _leaf(name: str, value: Any) -> Iterator[tuple[str, float | None]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaf(f"{name}.{key}" if name else str(key), each)
        return
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return
    yield name or "score", number if number - number == 0 else None


def _worth(folder: Path, files: Any) -> dict[str, float]:
    """What each prediction is worth, where a table that was left behind says it."""
    for file in sorted(folder.iterdir(), key=lambda each: len(each.name), reverse=True):
        if file.suffix not in (".xlsx", ".tsv", ".csv"):
            continue
        try:
            table = files.load(str(file))
            column = next((each for each in _WORTH if each in table), None)
            if column is None or "index" not in table:
                continue
            pairs = zip(table["index"], table[column], strict=True)
            return {str(index).removesuffix(".0"): float(value) for index, value in pairs}
        except Exception:  # noqa: BLE001, S112 - a table of another shape says nothing
            continue
    return {}


def _means(values: dict[str, float | None], worth: Sequence[float]) -> dict[str, float]:
    """The overall score, where it is the mean of what the predictions are worth."""
    if not worth or not all(0.0 <= each <= 1.0 for each in worth):
        return {}
    mean = sum(worth) / len(worth)
    for name in ("Overall", "overall"):
        value = values.get(name)
        for factor in (1.0, 100.0):
            if value is not None and abs(value - factor * mean) <= 1e-9 * max(1.0, abs(value)):
                return {name: factor}
    return {}


def _announce(judge: JudgeEndpoint) -> None:
    """Put the judge where its clients look, and keep it there: whatever a checkout's `.env` says isn't used."""
    judge.announce()
    os.environ["OPENAI_API_BASE"] = f"{judge.base_url}/chat/completions"  # it posts to the address itself
    for name in ("LOCAL_LLM", "BOYUE"):
        os.environ.pop(name, None)
    utilities: Any = sys.modules.get("vlmeval.dataset.utils.judge_util")
    if utilities is not None:
        utilities.load_env = lambda: None  # read again for every judge


@contextmanager
def _nobody_answers(judge: JudgeEndpoint) -> Iterator[None]:
    """Where there is no judge, its clients are told so at once, and don't try again and wait each time."""
    client: Any = importlib.import_module("vlmeval.api.base").BaseAPI
    before = client.generate, client.chat

    def refuse(model: Any, *_args: Any, **_options: Any) -> str:
        judge.refused = NO_JUDGE
        return str(model.fail_msg)

    client.generate = client.chat = refuse
    try:
        yield
    finally:
        client.generate, client.chat = before


def main() -> None:
    """Serve until the other end is gone."""
    wire: Wire = start(sys.argv[1:])
    judge = JudgeEndpoint(wire)
    _announce(judge)
    kit = VLMEvalKit(judge)
    serve(
        wire,
        {
            "hello": kit.hello,
            "list": kit.list,
            "load": kit.load,
            "render": kit.render,
            "score": kit.score,
            "groups": kit.groups,
        },
    )


if __name__ == "__main__":
    main()
