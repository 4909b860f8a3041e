"""Scenarios: schema, YAML files, cases, objectives and random streams."""
