"""What holds for all tests."""

from __future__ import annotations

import os

# On a machine full of tests no model gets a preparation process, unless its test asks for one.
os.environ.setdefault("MUSTER_LOCAL_WORKERS", "64")
