"""Decisions about a run by a written policy: GO, NO-GO or INCONCLUSIVE."""
