"""Tensor parallelism: one replica in several processes, each with a part of every layer.

The process that loads the backend is the first member. It alone claims, prepares and decides; it starts the other
members, which run the same batches through their parts of the model and say nothing of their own. Read `members` for
the first member's side, `follower` for the others', `lockstep` for what must be the same on all.
"""
