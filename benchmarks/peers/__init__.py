"""Muster beside the tools in use today: `makespan` is simulated, `connections` and `race` are real."""
