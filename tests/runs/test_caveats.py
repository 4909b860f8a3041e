"""A caveat is stored as a kind with parameters, and its text is made when it is shown."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import llmbench
from llmbench.runs.caveats import KINDS, QUALITY_BREACHED, Caveat, message_of_all

SOURCE = Path(llmbench.__file__).parent


def fields(kind: str) -> set[str]:
    text = KINDS[kind].sentence + KINDS[kind].remedy
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def made() -> Iterator[tuple[str, set[str]]]:
    """Yield the kind and the parameters of every caveat that the package makes."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "Caveat"
                and node.args
            ):
                yield _kind(node.args[0]), {keyword.arg or "" for keyword in node.keywords}


def _kind(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    return QUALITY_BREACHED if isinstance(argument, ast.Name) else "harness-degraded"


def test_every_caveat_has_the_parameters_of_its_kind() -> None:
    wrong = [(kind, names) for kind, names in made() if fields(kind) != names]
    assert wrong == []


def test_every_kind_is_used_somewhere() -> None:
    assert set(KINDS) - {kind for kind, _ in made()} == {"harness-invalid"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_identified_by_parameters_that_it_has(kind: str) -> None:
    assert set(KINDS[kind].key) <= fields(kind)
    assert KINDS[kind].sentence.endswith(".")


def test_a_caveat_is_stored_without_its_text() -> None:
    caveat = Caveat("mlperf-invalid", missed=["min_duration", "min_queries"])
    stored = json.loads(json.dumps(caveat.as_dict()))
    assert stored == {"kind": "mlperf-invalid", "missed": ["min_duration", "min_queries"]}
    assert Caveat(**stored) == caveat
    assert Caveat(**stored).message.endswith("not met: min_duration, min_queries.")


def test_a_caveat_of_0_1_0_is_shown_as_it_was_stored() -> None:
    stored = {"kind": "slowed", "message": "Every step was made 5 % slower.", "remedy": "Unset it."}
    caveat = Caveat(**stored)
    assert str(caveat) == "Every step was made 5 % slower. Unset it."
    assert caveat.severity == "invalid"
    assert caveat.key != Caveat(**(stored | {"message": "Something else."})).key


def test_a_kind_of_a_plugin_brings_its_own_text() -> None:
    caveat = Caveat("warm-room", message="The room was warm.", remedy="Open a window.")
    assert (caveat.message, caveat.severity) == ("The room was warm.", "warning")


def test_a_missing_value_is_unknown() -> None:
    breached = Caveat(QUALITY_BREACHED, label="perplexity", limit="at most", bound=9.0, value=None)
    assert (
        breached.message == "Quality is out of bounds: perplexity is unknown, required at most 9."
    )


def test_a_value_that_another_version_stored_otherwise_is_shown() -> None:
    assert "used unknown %" in Caveat("other-load").message
    assert "used much %" in Caveat("other-load", percent="much").message


def test_numbers_that_differ_between_runs_become_a_range() -> None:
    loads = [Caveat("other-load", percent=percent) for percent in (90.2, 75.9, 80.0)]
    assert message_of_all(loads).startswith("Other programs used 76 to 90 % of the machine's")


def test_other_values_that_differ_are_listed() -> None:
    caveats = [
        Caveat("not-effective", setting="dtype", requested="auto", effective=effective)
        for effective in ("float32", "bfloat16")
    ]
    assert message_of_all(caveats) == (
        "`dtype` was requested as 'auto' but was 'float32' or 'bfloat16'."
    )
