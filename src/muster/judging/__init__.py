"""Asks a judge about answers while a run goes on, and keeps what it says.

Metrics say what to ask and how to read a verdict (`muster.metrics.protocol.JudgedMetric`); `results.verdicts` looks
verdicts up. `judge`: who is asked. `session`: which answers, and the journal of verdicts. `process`, `child`, `frames`:
the judge's own process. `run_judge`: a run's answers, as they come.
"""
