"""How the demo model and the `digits` benchmark are made: scans, questions, architecture, training."""
