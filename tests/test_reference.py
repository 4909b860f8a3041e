"""The generated pages of the docs are what the program says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import generate_reference
import pytest

from llmbench.scenario.schema import Scenario

RENEW = "python tools/generate_reference.py"


@pytest.mark.parametrize("name", ["scenario.md", "commands.md"])
def test_the_reference_is_up_to_date(name: str) -> None:
    kept = (generate_reference.FOLDER / name).read_text("utf-8")
    # words alone, as later versions of argparse set them apart otherwise
    assert generate_reference.pages()[name].split() == kept.split(), f"renew it with: {RENEW}"


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every key of a scenario, and of whatever a scenario names, with its schema."""
    for model in (schema, *schema["$defs"].values()):
        for key, of in model.get("properties", {}).items():
            yield f"{model['title']}.{key}", of


def test_every_key_of_a_scenario_says_what_it_means() -> None:
    found = [
        key
        for key, of in keys(Scenario.model_json_schema())
        if "description" not in of and "$ref" not in of and not key.endswith(".kind")
    ]
    assert found == []


def test_parts_of_others_are_not_in_the_reference() -> None:
    kept = (generate_reference.FOLDER / "scenario.md").read_text("utf-8")
    assert "### backend eager" in kept
    assert "generate-batch" not in kept
