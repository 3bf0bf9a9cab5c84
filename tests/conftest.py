"""What holds for all tests."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")

# On a busy machine an example may take any time.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")


class ModulesThatShare(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Any process runs any test, but those of a module that makes something once all run in the same one.

    (`--dist loadgroup` would say the same, and does nothing under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if _shares(module) else nodeid


@functools.cache
def _shares(module: str) -> bool:
    return 'scope="module"' in (ROOT / module).read_text()


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModulesThatShare:
    """How tests are spread over the processes of `-n`."""
    return ModulesThatShare(config, log)
