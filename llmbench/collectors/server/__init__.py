"""Metrics that an inference server publishes itself, read over HTTP."""
