"""Finished runs, told to the trackers that people already look at: MLflow, Weights & Biases, TensorBoard."""
