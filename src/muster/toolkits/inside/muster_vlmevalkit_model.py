"""Runs inside the interpreter that has VLMEvalKit: one of its models, asked as its own inference scripts ask it.

Prompts of its own datasets are the model's (`use_custom_prompt`, `build_prompt`) where it has any; what else is asked
comes as messages. Its wrappers are imported one by one: `muster_vlmevalkit_imports`.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import os
import random
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - last: it shadows nothing

from muster_toolkit_wire import RefusedError, Wire, described, start
from muster_vlmevalkit_imports import import_vlmevalkit, missing, supported_models

FAILED = ("Failed to obtain answer", "Chat Mode: Failed with all possible conversation turns")
"""How its API models and its dialogues begin what they return instead of an answer."""
NO_DATASET = "muster_openended"
"""What wrappers are told for tasks that aren't VLMEvalKit's: many look for words in a dataset's name, and it takes one
with `openended` in it for questions without options."""
LENGTH = ("max_new_tokens", "max_tokens", "max_output_tokens", "max_completion_tokens")
"""What wrappers call the longest answer, as attributes or in dictionaries that they hand on."""


class Wrapper:
    """A model of VLMEvalKit, and the datasets whose own prompts it was asked for."""

    def __init__(self, name: str, args: Mapping[str, Any], checkout: str | None) -> None:
        """Load it. Raises `RefusedError` where that can't work."""
        import_vlmevalkit(checkout, "dataset", "vlm", "api")
        known = supported_models()
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5)
            raise RefusedError(
                f"VLMEvalKit has no model {name!r}" + (f". Near: {', '.join(near)}" if near else "")
            )
        self._kit: Any = importlib.import_module("vlmeval.dataset")
        try:
            self.model: Any = known[name](**args)
        except BaseException as error:
            if why := missing(error):
                raise RefusedError(f"the model {name}: {why} ({sys.executable})") from error
            if isinstance(
                error, (TypeError, OSError, AssertionError, SystemExit)
            ):  # arguments, paths, the hub
                raise RefusedError(f"the model {name} can't be loaded: {described(error)}") from error
            raise
        self.remote = bool(getattr(self.model, "is_api", False))
        self._datasets: dict[str, tuple[Any, dict[str, int]]] = {}
        self._building = threading.Lock()

    def facts(self) -> dict[str, Any]:
        """What the other side has to know of it."""
        return {
            "wrapper": type(self.model).__name__,
            "remote": self.remote,
            "takes_videos": bool(getattr(self.model, "VIDEO_LLM", False)),
        }

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request, or what kept it from one."""
        model, unplaced = _with_settings(self.model, asked["settings"])
        dataset = asked["dataset"]
        if not self.remote:
            _seed(asked["seed"])
        several = len(asked["turns"]) > 1 or (dataset and self._kit.DATASET_TYPE(dataset) == "MT")
        if several:
            said = self._dialogue(model, asked["turns"], dataset or NO_DATASET)
        else:
            struct = self._own_prompt(model, dataset, asked["sample"]) if dataset else None
            options = {"dataset": dataset or NO_DATASET} if dataset or not self.remote else {}
            said = model.generate(message=struct or _pieces(asked["turns"], asked["system"]), **options)
        if isinstance(said, dict) and "prediction" in said:  # with an agent's records beside it
            said = said["prediction"]
        text = said if isinstance(said, str) else str(said)
        if text.startswith(FAILED) or text.startswith(str(getattr(model, "fail_msg", FAILED[0]))):
            return {"failure": "transient", "message": f"VLMEvalKit's wrapper says: {text[:300]}"}
        return {"text": text, "unplaced": unplaced}

    def _dialogue(self, model: Any, turns: Sequence[Mapping[str, Any]], dataset: str) -> Any:
        if not hasattr(model, "chat_inner"):
            raise ValueError(
                f"{type(model).__name__} answers single questions only (it has no chat_inner), and this is a dialogue"
            )
        talk = [{"role": each["role"], "content": _content(each["parts"])} for each in turns]
        return model.chat(talk, dataset=dataset)

    def _own_prompt(self, model: Any, name: str, sample: str) -> Any:
        """What VLMEvalKit would ask this model, where that isn't what the dataset alone makes of its row."""
        films = str(self._kit.DATASET_MODALITY(name)) == "VIDEO" or name in getattr(
            self._kit, "supported_video_datasets", {}
        )
        custom = hasattr(model, "use_custom_prompt") and model.use_custom_prompt(name)
        takes_videos = bool(getattr(model, "VIDEO_LLM", False))
        if not custom and not (films and takes_videos):
            return None
        dataset, places = self._dataset(name)
        place = places[sample]
        line = dataset.data.iloc[place]
        if hasattr(model, "set_dump_image") and hasattr(dataset, "dump_image"):
            model.set_dump_image(dataset.dump_image)
        if not films:
            if getattr(dataset, "force_use_dataset_prompt", False):
                return dataset.build_prompt(line)
            return model.build_prompt(line, dataset=name)
        _same_frames(model, dataset)
        if "SUB_DATASET" in line:
            custom = hasattr(model, "use_custom_prompt") and model.use_custom_prompt(line["SUB_DATASET"])
        if custom:
            if dataset.nframe == 0:
                raise ValueError(
                    "the model's own prompts need a dataset with a number of frames, not with an fps"
                )
            return model.build_prompt(line, dataset=dataset, video_llm=takes_videos)
        return dataset.build_prompt(place, video_llm=takes_videos)

    def _dataset(self, name: str) -> tuple[Any, dict[str, int]]:
        with self._building:
            if name not in self._datasets:
                dataset = self._kit.build_dataset(name)
                if dataset is None:
                    raise RefusedError(f"VLMEvalKit can't build {name} here")
                indices = [str(each) for each in dataset.data["index"]]
                self._datasets[name] = dataset, {each: place for place, each in enumerate(indices)}
            return self._datasets[name]


def _same_frames(model: Any, dataset: Any) -> None:
    """Frames as the dataset has them, where a model has a setting for it: as VLMEvalKit's `inference_video.py`."""
    for own, other in (("nframe", "fps"), ("fps", "nframe")):
        if (getattr(model, own, None) or 0) > 0:
            if getattr(dataset, own) > 0:
                setattr(model, own, getattr(dataset, own))
            elif not getattr(model, other, 0):
                raise ValueError(f"the dataset says no {own}, and the model has nothing else to go by")
            else:
                setattr(model, own, None)


def _content(parts: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{"type": each["type"], "value": each["value"]} for each in parts]


def _pieces(turns: Sequence[Mapping[str, Any]], system: str) -> list[dict[str, str]]:
    before = [{"type": "text", "value": system, "role": "system"}] if system else []
    return [*before, *_content(turns[0]["parts"])]


def _seed(seed: int) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _with_settings(model: Any, settings: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """A copy of the model (of the object, not of its weights) with other settings, and those it has no place for."""
    varied, unplaced = copy.copy(model), []
    held = {
        name: dict(value)
        for name, value in vars(model).items()
        if isinstance(value, dict) and not name.startswith("_")
    }
    for name, value in settings.items():
        names = LENGTH if name == "max_new_tokens" else (name,)
        placed = False
        for each in names:
            if isinstance(vars(model).get(each), (int, float)):
                setattr(varied, each, value)
                placed = True
            for options in held.values():
                if each in options:
                    options[each] = value
                    placed = True
        if name == "temperature":
            placed = _sampling(held, sampled=value > 0) or placed
        if not placed:
            unplaced.append(name)
    for name, options in held.items():
        setattr(varied, name, options)
    return varied, unplaced


def _sampling(held: Mapping[str, dict[str, Any]], *, sampled: bool) -> bool:
    """Switch sampling on or off in what goes to transformers' `generate`, known by its `max_new_tokens`."""
    handed = [options for options in held.values() if "max_new_tokens" in options]
    for options in handed:
        options["do_sample"] = sampled
    return bool(handed) and not sampled


def _fault(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    if kind == "OutOfMemoryError":
        failure = "transient"
    elif kind in ("AcceleratorError", "EngineDeadError") or "CUDA error" in str(error):
        failure = "replica"
    elif missing(error):
        return {"failure": "configuration", "message": f"{missing(error)} ({sys.executable})"}
    else:
        failure = "configuration" if isinstance(error, RefusedError) else "sample"
    return {"failure": failure, "message": described(error), "traceback": traceback.format_exc()}


def _answered(wire: Wire, wrapper: Wrapper, asked: Mapping[str, Any]) -> None:
    try:
        answer = wrapper.answer(asked)
    except BaseException as error:  # noqa: BLE001 - anybody's code, which may call sys.exit()
        answer = _fault(error)
    wire.send({"kind": "row", "number": asked["number"], **answer})


def main() -> None:
    """Load the model that the first message names, then answer until the other end is gone."""
    wire = start(sys.argv[1:])
    asked = wire.requests.get()
    try:
        wrapper = Wrapper(asked["name"], asked["args"], asked["checkout"])
    except BaseException as error:  # noqa: BLE001 - anybody's code, which may call sys.exit()
        wire.send(
            {
                "kind": "error",
                "configuration": isinstance(error, RefusedError),
                "message": str(error) if isinstance(error, RefusedError) else described(error),
                "traceback": traceback.format_exc(),
            }
        )
        return
    wire.send({"kind": "row", **wrapper.facts()})
    if not wrapper.remote:  # in this thread, for which VLMEvalKit has switched gradients off
        while True:
            _answered(wire, wrapper, wire.requests.get())
    with ThreadPoolExecutor(asked["at_once"]) as pool:
        while True:
            pool.submit(_answered, wire, wrapper, wire.requests.get())


if __name__ == "__main__":
    main()
