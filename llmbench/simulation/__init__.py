"""Simulated loads: step times fitted to measured runs, and the engine on a virtual clock."""
