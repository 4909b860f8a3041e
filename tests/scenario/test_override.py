"""Keys that are set on the command line: mistakes name the flag as it was typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.file import MAX_OVERRIDE, Override

SCENARIO = """\
name: chat
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 16, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 20
backends: [fake]
"""


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(SCENARIO)
    return path


def test_values_of_over_are_a_sweep(chat: Path) -> None:
    source = scenario_file.load(chat, ["seed=3", Override.swept(" engine.slots =4,8")])
    assert source.scenario.sweep == {"engine.slots": [4, 8]}
    assert source.origins["sweep", "engine.slots"] == "--over  engine.slots =4,8"
    assert source.overrides == ("seed=3", "sweep.engine.slots=[4,8]")


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("engine.slots", "expected KEY=VALUE,VALUE such as engine.slots=4,8,16"),
        ("=4,8", "expected KEY=VALUE,VALUE such as engine.slots=4,8,16"),
        ("engine.slots= ", "expected KEY=VALUE,VALUE such as engine.slots=4,8,16"),
        ("engine.slots=1,[", "the value is not valid YAML: "),
        ("engine.slots=1],[2", "the value is not valid YAML: "),
        ("engine.slot=1,2", "engine.slot: no such key; did you mean 'slots'?"),
        ("engine.slots=0,2", "engine.slots: must be greater than or equal to 1, found 0"),
        ("engine.slots.x=1", "engine.slots: must be a whole number, found {'x': 1}"),
        ("requests.more=1", "requests.more: 'requests' has no keys: it is a list or a single"),
        ("name=a,b", "name cannot be swept; sweep e.g. keys of model, workload or load, found"),
        ("engine.slots=4,8,4", "engine.slots lists 4 more than once, found {'engine.slots"),
        ("server.preset=vllm", "server.preset: no backend is an endpoint, whose server could"),
    ],
)
def test_a_mistake_of_over_is_reported_as_typed(chat: Path, over: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(chat, [Override.swept(over)])
    assert str(caught.value).startswith(f"--over {over}: {message}")


def test_many_values_of_over_are_shortened(chat: Path) -> None:
    over = f"seed={','.join(map(str, range(1200)))}"
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(chat, [Override.swept(over)])
    place, _, message = str(caught.value).partition(": ")
    assert message.startswith("found 1,200 cases (every backend at every combination of values)")
    assert place.startswith("--over seed=0,1,2")
    assert len(place) <= MAX_OVERRIDE


def test_a_section_that_only_flags_have_is_placed_at_the_flag(chat: Path) -> None:
    with pytest.raises(ScenarioError, match=r"^--set sweep\.name=\[a\]: sweep: name cannot be"):
        scenario_file.load(chat, ["sweep.name=[a]"])
