"""Which option an answer chooses: one reader per convention, all `(text, options) -> letter or None`."""
