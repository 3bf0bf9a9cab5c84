"""Measurements, each against its alternative in the same run: `python -m benchmarks.NAME [--quick]`."""
