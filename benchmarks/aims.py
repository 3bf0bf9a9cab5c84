"""What Muster may cost beyond the model, which several benchmarks compare with."""

from __future__ import annotations

AIM_SHARE = 0.05
"""Of the time that the model takes."""
