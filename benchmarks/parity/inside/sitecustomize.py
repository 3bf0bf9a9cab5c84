"""In an interpreter that finds this folder first: `datasets.load_dataset` reads the check's fixtures, and nothing else.

The tasks' own files, which name datasets of a hub, stay as they are.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any


class _Any(str):
    """Equal to whatever checksum is wanted."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str)


class _Patching(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self) -> None:
        self._loaders: dict[str, Any] = {}
        self._wanted = {"datasets", "vlmeval.dataset.image_base"}
        if not Path("/dev/nvidiactl").exists():
            self._wanted.add("torch")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:  # noqa: ARG002
        if name not in self._wanted:
            return None
        self._wanted.discard(name)
        spec: Any = importlib.util.find_spec(name)
        self._loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = loader = self._loaders[module.__name__]
        loader.exec_module(module)
        if module.__name__ == "torch":
            module.nn.Module.cuda = lambda model, *_args, **_options: model  # there is no GPU: it stays
            return
        if module.__name__ != "datasets":
            module.md5 = lambda _file: _Any()  # the fixtures' contents aren't the published ones
            return

        def load_dataset(path: Any = None, name: Any = None, *_args: Any, **options: Any) -> Any:
            folder = Path(os.environ["PARITY_DATA"]) / str(path).replace("/", "__") / str(name or "default")
            if not folder.is_dir():
                raise FileNotFoundError(f"the parity check has no fixture {folder.parent.name}/{folder.name}")
            splits = {
                file.stem: module.Dataset.from_parquet(str(file)) for file in sorted(folder.glob("*.parquet"))
            }
            return splits[options["split"]] if options.get("split") else module.DatasetDict(splits)

        module.load_dataset = load_dataset


if "PARITY_DATA" in os.environ:
    sys.meta_path.insert(0, _Patching())
