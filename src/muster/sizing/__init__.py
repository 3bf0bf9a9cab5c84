"""What a model needs: parameters, memory, GPUs and time, told from its config and headers. Imports no torch."""
