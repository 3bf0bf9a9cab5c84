"""The tokens of a run's answers, and what they cost where the user said prices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

from muster.core import JSON, Usage

MILLION = 1_000_000


class Prices(NamedTuple):
    """For a million tokens, in whatever currency; None: not said."""

    prompt: float | None = None
    completion: float | None = None

    @classmethod
    def of(cls, args: JSON) -> Self:
        """From the arguments of a backend: `price_input` and `price_output`."""
        found = [
            args.get(name) if isinstance(args, dict) else None for name in ("price_input", "price_output")
        ]
        prompt, completion = (float(price) if isinstance(price, int | float) else None for price in found)
        return cls(prompt, completion)


@dataclass(slots=True)
class UsageTotals:
    """Adds up the tokens of answers."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Answers of which the backend didn't say."""

    def add(self, usage: Usage) -> None:
        """Count one answer."""
        if usage.prompt_tokens is None and usage.completion_tokens is None:
            self.uncounted += 1
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0

    def report(self, prices: Prices) -> dict[str, float | None]:
        """The `usage` of results.json; `cost` only with a price. None is what nothing is known of."""
        report: dict[str, float | None] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "answers_without_usage": self.uncounted,
        }
        if prices.prompt is not None or prices.completion is not None:
            report["cost"] = (
                self.prompt_tokens * (prices.prompt or 0.0)
                + self.completion_tokens * (prices.completion or 0.0)
            ) / MILLION
        return report
