"""Campaigns of worker processes: runs, checks, capacity searches and profiles."""
