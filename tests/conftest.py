"""What holds for all tests."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")

# On a busy machine an example may take any time.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")


@pytest.hookimpl(optionalhook=True)  # without xdist there is no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """How tests are spread over the processes of `-n`."""
    from spreading import ModulesThatShare

    return ModulesThatShare(config, log)
