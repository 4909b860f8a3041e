"""Fleets: runs and load clients on the nodes of a Ray cluster. Only this package imports ray."""
