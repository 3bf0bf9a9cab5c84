"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Nothing is asserted about how long anything takes, on a machine full of tests least of all.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")
