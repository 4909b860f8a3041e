"""Stored runs: requests, records, series, and the results folder."""
