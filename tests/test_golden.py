"""Run sets written by version 0.1.0 give the figures, verdicts and exports that they gave then."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import golden
import pytest

from llmbench.cli import main
from llmbench.runs import store

PROSE = "..."
# What is meant to differ from 0.1.0, but for the wording.
RENAMED = {"tokenise_seconds": "tokenize_seconds"}
OLD_KEY = re.compile(
    r"\b((?:[a-z]+_)?(?:ttft|itl|tpot|e2e|queue_time|send_lag))_seconds_(p\d+|mean)\b"
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setenv("COLUMNS", "100")
        return dict(golden.outputs(tmp_path_factory.mktemp("golden")))


@pytest.mark.parametrize("name", [*golden.COMMANDS, "sessions.page.json"])
def test_a_stored_run_set_gives_what_it_gave(outputs: dict[str, str], name: str) -> None:
    frozen = (golden.GOLDEN / name).read_text("utf-8")
    assert comparable(name, outputs[name]) == comparable(name, frozen), "if meant: golden.py"


def test_a_stored_run_set_is_resumed_with_the_very_times_that_it_had(tmp_path: Path) -> None:
    folder = tmp_path / "fake"
    shutil.copytree(golden.GOLDEN / "fake", folder)
    (before, *_) = store.read(folder).runs
    shutil.rmtree(folder / "runs" / before.name)
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    (after,) = [run for run in store.read(folder).runs if run.name == before.name]
    assert after.records["token_times"].equals(before.records["token_times"])


def comparable(name: str, text: str) -> Any:
    """Everything but prose, whose wording may change: a string with a space in it."""
    match Path(name).suffix:
        case ".json":
            return _without_prose(json.loads(text))
        case ".csv":
            return [list(map(_without_prose, row)) for row in csv.reader(io.StringIO(text))]
    return text


def _without_prose(node: Any) -> Any:
    if isinstance(node, dict):
        return {_renamed(key): _without_prose(inner) for key, inner in node.items()}
    if isinstance(node, list):
        return [_without_prose(inner) for inner in node]
    if isinstance(node, str):
        return PROSE if " " in node else _rounded(_renamed(node))
    return _rounded(node)


def _rounded(node: Any) -> Any:
    """Round a number, or a text of one: the last digits of logarithms differ between processors."""
    try:
        return node if isinstance(node, bool) else f"{float(node):.12g}"
    except (TypeError, ValueError):
        return node


def _renamed(text: str) -> str:
    return OLD_KEY.sub(r"\1_\2", RENAMED.get(text, text))
