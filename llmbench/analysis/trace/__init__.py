"""Profiler traces: events, categories of operators, and where step time goes."""
