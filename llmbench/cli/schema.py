"""``llmbench schema``: print the JSON Schema of scenario files, for editors."""

from __future__ import annotations

import argparse
import json

HELP = "print the JSON Schema of scenario files"
DESCRIPTION = "Print the JSON Schema of scenario files, with the keys of all installed plugins."
EPILOG = """\
example:
  llmbench schema > scenario.schema.json
  # then, as the first line of a scenario file:
  # yaml-language-server: $schema=scenario.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments."""


def run(_: argparse.Namespace) -> int:
    """Print the JSON Schema of scenario files."""
    from llmbench.scenario.schema import Scenario

    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    print(json.dumps(dialect | Scenario.model_json_schema(), indent=2, ensure_ascii=False))
    return 0
