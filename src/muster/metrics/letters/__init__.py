"""Which option an answer chooses: one reader per scoring variant, all `(text, options) -> letter or None`."""
