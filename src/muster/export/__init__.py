"""A run's answers in the forms of other tools: tables, lmms-eval's and VLMEvalKit's files, benchmark servers' own."""
