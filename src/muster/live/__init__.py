"""Evaluating a model that is in training, inside its own job: `muster.evaluate(model, tasks, processor=…)`.

Read `evaluation` for the story, `rank_group` for what the ranks say to each other, `copies` for which of them hold one
copy of the model, `in_step` for how those work as one replica, `restored` for what is put back afterwards.
"""
