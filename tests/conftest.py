"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")

# METEOR's WordNet: the few words of it that answers of the tests have.
os.environ["WNSEARCHDIR"] = str(Path(__file__).parent / "wordnet")

# On a busy machine an example may take any time.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """The processes of `-n` are forks: what they import, they import once."""
    from fork_server import start_servers

    program = Path(__file__).parent / "forked_python.py"
    python = shlex.join([sys.executable, "-I", "-S", str(program), str(start_servers(config.args) / "tests")])
    for spec in specs:
        spec.python = python


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How tests are spread over the processes of `-n`."""
    from spreading import ModulesThatShare

    return ModulesThatShare(config, log)


def pytest_collection_finish() -> None:
    """What is there now stays: no collection has to look through it again, in this process or its forks."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first: what is left at the end, when processes run out of work, is short."""
    try:
        from spreading import turns
    except ImportError:  # without xdist all run one after the other
        return
    of = turns(items)
    items.sort(key=lambda item: of[item.nodeid])
