"""Baseline against candidate: what differs, what changed, and whether it matters."""
