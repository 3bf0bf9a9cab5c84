"""Why two numbers of one benchmark differ: what is taken from one side and what from the other, one at a time."""
