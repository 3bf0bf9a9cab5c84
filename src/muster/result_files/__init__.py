"""Results as they lie in files, whoever wrote them, in one form: for comparing, gating, reports and exports."""
