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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - last: it shadows nothing

from muster_toolkit_judge import JudgeEndpoint
from muster_toolkit_media import MediaWriter
from muster_toolkit_wire import RefusedError, Wire, described, serve, start

Frames = Iterator["tuple[dict[str, Any], Sequence[bytes]]"]
JUDGE = "gpt-4o-mini"
"""What it calls the judge; Muster's answers, whatever the name."""
NOBODY = "exact_matching"
_LONGEST_CELL = 200
_MEDIA = ("image", "image_path", "video", "video_path")
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
        if request.get("path"):
            sys.path.insert(0, os.path.abspath(os.path.expanduser(request["path"])))  # noqa: PTH100, PTH111
        try:
            self._kit = importlib.import_module("vlmeval.dataset")
        except ImportError as error:
            raise RefusedError(
                f"VLMEvalKit can't be imported by {sys.executable} ({described(error)}); --vlmevalkit-path names a "
                "checkout, --vlmevalkit-python the environment that has what it needs"
            ) from error
        package: Any = importlib.import_module("vlmeval")
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
            places = [place for place, name in enumerate(names) if name in set(map(str, wanted))]
        else:
            places = list(wanted)
        for place in places:
            try:
                row = _rendered(dataset, data.iloc[place], media)
            except BaseException as error:  # noqa: BLE001 - the dataset's code; this row can't be asked
                media.take()
                row = {"fault": described(error)}
            yield {"id": names[place], **row}, media.take()

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
        texts = {str(index): said[0] for index, said in request["answers"]}
        data = dataset.data[[str(each) in texts for each in dataset.data["index"]]].copy()
        data["prediction"] = [str(texts[str(each)]) for each in data["index"]]
        data = data.drop(columns=[each for each in ("image",) if each in data])
        written = folder / f"muster_{name}.{files.get_pred_file_format()}"
        files.dump(data, str(written))
        judged = bool(request.get("judge"))
        random.seed(0)
        problems: list[str] = []
        values: dict[str, float | None] = {}
        try:
            found = dataset.evaluate(
                str(written), model=JUDGE if judged else NOBODY, nproc=4, verbose=False, retry=3
            )
            values = dict(_numbers(found))
            if not values:
                problems.append(f"no number (it gave {type(found).__name__})")
        except BaseException as error:  # noqa: BLE001 - the dataset's code
            problems.append(described(error))
        worth = _worth(folder, files)
        whole = bool(worth) and set(worth) == set(texts)
        means = {} if self._judge.refused or not whole else _means(values, list(worth.values()))
        label = next(iter(means), "score")
        for index in texts:
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
    kind = str(getattr(dataset, "TYPE", ""))
    several = kind == "MT" or not hasattr(dataset, "build_prompt")
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
        "output": "several turns" if several else "generate_until",
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
    turns: list[dict[str, Any]] = []
    for piece in message:
        role = piece.get("role", "user")
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "parts": []})
        if piece["type"] == "text":
            turns[-1]["parts"].append({"text": str(piece["value"])})
        elif piece["type"] == "image" and Path(str(piece["value"])).is_file():
            items = media.media(Path(str(piece["value"])).read_bytes(), "image")
            turns[-1]["parts"] += [{"media": each} for each in items]
        else:
            turns[-1]["parts"] += [{"media": each} for each in media.media(piece["value"], piece["type"])]
    answer = line.get("answer")
    return {
        "messages": turns,
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
        label = next(
            (each for each in ("split", "category", "Category") if each in found and len(found) > 1), None
        )
        for _place, row in found.iterrows():
            prefix = f"{row[label]}." if label else ""
            for name, value in row.items():
                yield from _leaf(f"{prefix}{name}", value)
        return
    yield from _leaf("", found)


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


def main() -> None:
    """Serve until the other end is gone."""
    wire: Wire = start(sys.argv[1:])
    judge = JudgeEndpoint(wire)
    judge.announce()
    os.environ["OPENAI_API_BASE"] = f"{judge.base_url}/chat/completions"  # it posts to the address itself
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
