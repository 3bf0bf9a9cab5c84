"""How tests are spread over the processes of pytest-xdist."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]
LONGEST = ("tests/test_slurm.py", "tests/test_live.py")
"""Modules that share something and take minutes, most of them waiting."""


class ModulesThatShare(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Any process runs any test, but those of a module that makes something once all run in the same one.

    (`--dist loadgroup` would say the same, and does nothing under pytest 9.2.)
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False  # by the number of tests; `turns` knows better
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if shares(module) else nodeid


@functools.cache
def shares(module: str) -> bool:
    """Whether a test module makes something once for all of its tests."""
    return 'scope="module"' in (ROOT / module).read_text()


def turns(items: Sequence[pytest.Item]) -> dict[str, int]:
    """When each test has its turn: the longest modules, others that share and are slow, slow tests, the rest.

    All tests of a module that shares have the same.
    """
    slow = {item.nodeid for item in items if item.get_closest_marker("slow")}
    slow_modules = {nodeid.partition("::")[0] for nodeid in slow}

    def turn(nodeid: str) -> int:
        module = nodeid.partition("::")[0]
        if module in LONGEST:
            return 0
        if shares(module):
            return 1 if module in slow_modules else 3
        return 2 if nodeid in slow else 3

    return {item.nodeid: turn(item.nodeid) for item in items}
