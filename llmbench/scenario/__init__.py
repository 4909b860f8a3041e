"""A scenario: its schema, its YAML file, its cases, its objectives and its random streams."""
