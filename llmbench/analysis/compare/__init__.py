"""Comparison of a candidate with a baseline: differences, changes and verdicts."""
