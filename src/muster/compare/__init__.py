"""Comparing runs: paired tests, intervals, power and decisions. No files, no terminal in the cores."""
