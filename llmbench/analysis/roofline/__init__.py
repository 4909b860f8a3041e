"""Roofline: what steps move and compute, and the share of the device peaks that they reach."""
