"""Which request next, how many at once, and what about lost workers. Pure: no clock, no torch, no I/O."""
