"""Profiling: where a backend's step time goes, in a pass separate from timed runs."""
