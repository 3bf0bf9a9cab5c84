"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")

# On a busy machine an example may take any time.
settings.register_profile("muster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("muster")
