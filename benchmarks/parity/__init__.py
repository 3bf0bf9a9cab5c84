"""Replay parity: recorded answers, scored by a toolkit itself and by Muster with its code, compared with `==`."""
