"""Runs of the demo evaluation that are broken on purpose, and an independent count of what that cost.

`python -m benchmarks.chaos --help` says how; docs/faults.md says what came out.
"""

import sys
from pathlib import Path

# The hosts in network namespaces and the Ray cluster are those of the tests.
sys.path.append(str(Path(__file__).parents[2] / "tests"))
