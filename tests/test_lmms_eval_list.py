"""What `muster tasks --source lmms-eval` says of tasks that are never loaded; no lmms-eval is needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NoReturn

import pytest

import muster.toolkits


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(muster.toolkits.__file__).parent / "inside"))
    return importlib.import_module("muster_lmms_eval")


class Manager:
    """lmms-eval's index of its tasks."""

    all_tasks = ("mmsearch_end2end",)
    task_index: ClassVar[dict[str, dict[str, str]]] = {
        "mmsearch_end2end": {"type": "task", "yaml_path": "tasks/mmsearch/mmsearch_end2end.yaml"}
    }

    def _get_config(self, name: str) -> NoReturn:
        raise AssertionError(f"{name} was loaded")


def test_a_task_that_searches_the_web_is_refused_with_what_it_does(inside: Any) -> None:
    [row] = inside.listing(Manager(), "mmsearch*")
    assert row["state"] == "isn't run"
    for word in ("DuckDuckGo", "playwright", "BAAI/bge-m3", "its authors' machine"):
        assert word in row["why"]
    toolkit = inside.LmmsEval(None, None)
    toolkit._manager = Manager()
    with pytest.raises(inside.RefusedError, match="lmms-eval:mmsearch_end2end searches the web"):
        list(toolkit.load({"names": ["mmsearch_end2end"], "limit": None, "model_name": None}))
