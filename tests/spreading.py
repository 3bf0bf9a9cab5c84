"""How tests are spread over the processes of pytest-xdist."""

from __future__ import annotations

import functools
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).parents[1]


class ModulesThatShare(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Any process runs any test, but those of a module that makes something once all run in the same one.

    (`--dist loadgroup` would say the same, and does nothing under pytest 9.2.)
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if shares(module) else nodeid


@functools.cache
def shares(module: str) -> bool:
    """Whether a test module makes something once for all of its tests."""
    return 'scope="module"' in (ROOT / module).read_text()
