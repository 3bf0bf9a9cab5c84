"""What a policy's claim came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from muster.gate.policy import Tier

Outcome = Literal["holds", "broken", "open"]
"""`open`: these samples can't say."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim, and what the run says about it."""

    claim: str
    outcome: Outcome
    sentence: str
    tier: Tier = "critical"
