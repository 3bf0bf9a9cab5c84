"""`muster doctor`: what each rank sees, what doesn't fit together, and what to do about it.

`probe` looks (thin, every look has a limit), `exchange` brings the ranks' observations together, `diagnosis` compares
them (pure), `rendering` prints.
"""
