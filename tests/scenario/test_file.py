"""Scenario files are read; errors name file, line and key."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.cases import Case, normal_spec, portable, readable
from llmbench.scenario.schema import Scenario

GOOD = """\
name: chat
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 16, output_tokens: {uniform: [4, 8]}}
load:
  kind: poisson
  rate: 4/s
requests: 20
backends:
  - fake
  - {kind: fake, name: slow, per_token: 10 ms}
"""


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "chat.yaml"
    path.write_text(GOOD)
    return path


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        scenario_file.load(path, overrides)
    return str(caught.value).replace(f"{path.parent}/", "")


def edited(path: Path, old: str, new: str) -> Path:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    return path


def test_a_file_has_one_case_per_backend(chat: Path) -> None:
    assert [case.name for case in scenario_file.load(chat).cases] == ["fake", "slow"]


def test_units_are_read(chat: Path) -> None:
    source = scenario_file.load(chat)
    assert source.scenario.load.rate == 4.0
    assert source.cases[1].backend_options.per_token == 0.01


def test_a_sweep_expands_into_every_combination(chat: Path) -> None:
    source = scenario_file.load(chat, ["sweep={load.rate: [1, 2], engine.slots: [4]}"])
    assert [case.name for case in source.cases] == [
        "fake, load.rate=1, engine.slots=4",
        "slow, load.rate=1, engine.slots=4",
        "fake, load.rate=2, engine.slots=4",
        "slow, load.rate=2, engine.slots=4",
    ]
    assert [case.scenario.load.rate for case in source.cases] == [1, 1, 2, 2]


def test_a_case_is_rebuilt_from_its_plain_data(chat: Path) -> None:
    case = scenario_file.load(chat).cases[1]
    assert Case.of(Scenario.model_validate(case.spec), case.point, case.name) == case


def test_a_case_has_its_spec_in_normal_form_and_readable(chat: Path) -> None:
    spec = scenario_file.load(chat, ["slo={ttft_p99: 90 s}", "max_in_flight=2"]).cases[1].spec
    assert spec["model"] == {"source": "random:tiny"}
    assert spec["load"] == {"kind": "poisson", "rate": 4.0}
    assert (spec["slo"], "repeats" in spec) == ({"ttft_p99": 90.0}, False)
    assert spec == normal_spec(spec)
    shown = readable(spec)
    assert (shown["load"]["rate"], shown["slo"]["ttft_p99"]) == ("4/s", "1.5 min")
    assert shown["backends"][0] == {"kind": "fake", "name": "slow", "per_token": "10 ms"}
    assert normal_spec(shown) == spec


def test_workers_of_other_versions_get_the_old_spelling(chat: Path) -> None:
    spec = scenario_file.load(chat, ["max_in_flight=2", "on_limit=queue"]).cases[0].spec
    sent = portable(spec)
    assert ("on_limit" in sent, sent["behind"]) == (False, "wait")
    assert normal_spec(sent) == spec


def test_a_stored_spec_that_is_not_a_valid_scenario_keeps_its_values() -> None:
    spec = {"load": "elsewhere", "requests": 3, "slo": {"ttft": "500 ms"}, "imported": {}}
    assert normal_spec(spec) == {**spec, "load": {"kind": "elsewhere"}, "slo": {"ttft": 0.5}}
    assert readable(spec) == spec


@pytest.mark.parametrize(("old", "new"), [("wait", "queue"), ("drop", "drop")])
def test_behind_is_read_as_on_limit(chat: Path, old: str, new: str) -> None:
    source = scenario_file.load(chat, ["max_in_flight=2", f"behind={old}"])
    assert source.scenario.on_limit == new


def test_a_scenario_of_0_1_0_with_a_queue_policy_is_still_read(chat: Path) -> None:
    source = scenario_file.load(chat, ["engine={queue: fifo, slots: 4}"])
    assert source.scenario.engine.slots == 4


def test_an_override_has_its_origin(chat: Path) -> None:
    source = scenario_file.load(chat, ["load.rate=8"])
    assert source.scenario.load.rate == 8
    assert source.origins["load", "rate"] == "--set load.rate=8"


def test_an_override_expands_shorthand(chat: Path) -> None:
    source = scenario_file.load(chat, ["model.dtype=float32"])
    assert (source.scenario.model.source, source.scenario.model.dtype) == ("random:tiny", "float32")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "requests: 20",
            "request: 20",
            "chat.yaml:7: request: no such key; did you mean 'requests'?",
        ),
        ("rate: 4/s", "rate: -1", "chat.yaml:6: load.rate: must be greater than 0, found -1.0"),
        ("rate: 4/s", "ratee: 4", "chat.yaml:6: load.ratee: no such key; did you mean 'rate'?"),
        ("poisson", "poison", "chat.yaml:4: load: no such kind 'poison'; did you mean 'poisson'?"),
        ("requests: 20", "requests: 0", "chat.yaml:7: requests: must be greater than 0, found 0"),
        ("requests: 20", "requests: many", "chat.yaml:7: requests: must be a valid integer"),
        ("requests: 20\n", "", "chat.yaml:1: scenario: expected `requests` or `duration`"),
        (
            "  - fake\n",
            "  - fakee\n",
            "chat.yaml:9: backends.0: no such kind 'fakee'; did you mean",
        ),
        ("name: slow, ", "", "chat.yaml:8: backends: 2 cases are named 'fake'"),
        ("per_token: 10 ms", "per_token: 10 apples", "per_token: unknown unit 'apples'"),
        (
            "[4, 8]",
            "[8, 4]",
            "chat.yaml:3: workload.output_tokens: expected uniform as [lower, upper]",
        ),
        ("requests: 20", "requests: 20\nsweep: {load.rate: []}", "load.rate has no values"),
        (
            "requests: 20",
            "requests: 20\nsweep: {load.rate: [1, -2]}",
            "chat.yaml:8: load.rate: must",
        ),
        (
            "requests: 20",
            "requests: 20\nrequests: 30",
            "chat.yaml:8: not valid YAML: found duplicate",
        ),
        ("requests: 20", "requests: [20", "not valid YAML"),
        ("requests: 20", "slo: {ttft_p98: 1}\nrequests: 1", "no such objective 'ttft_p98'"),
        ("name: chat", "name: ../chat", "name: String must match pattern"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_a_remedy(
    chat: Path, old: str, new: str, message: str
) -> None:
    assert message in complaint(edited(chat, old, new))


def test_all_mistakes_of_a_file_are_reported_at_once(chat: Path) -> None:
    chat.write_text(GOOD.replace("4/s", "-1").replace("requests: 20", "requests: -2"))
    assert len(complaint(chat).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("load.rate=-1", "--set load.rate=-1: load.rate: must be greater than 0"),
        ("repeat=3", "--set repeat=3: repeat: no such key; did you mean 'repeats'?"),
        ("load.rate", "--set load.rate: expected KEY=VALUE"),
        ("load.rate=[", "--set load.rate=[: the value is not valid YAML"),
        ("name.first=x", "--set name.first=x"),
    ],
)
def test_a_wrong_override_is_reported_as_typed(chat: Path, override: str, message: str) -> None:
    assert message in complaint(chat, override)


def test_an_override_of_a_whole_part_hides_the_lines_it_replaces(chat: Path) -> None:
    assert "--set load={kind: poisson, rate: 0}" in complaint(chat, "load={kind: poisson, rate: 0}")


def test_a_missing_file_suggests_its_neighbor(chat: Path) -> None:
    assert "did you mean" in complaint(chat.with_name("chad.yaml"))


def test_a_folder_is_not_a_scenario(tmp_path: Path) -> None:
    assert "is a folder" in complaint(tmp_path)


def test_a_binary_file_is_refused(chat: Path) -> None:
    chat.write_bytes(b"name: \xff\xfe")
    assert "is not UTF-8 text (byte 6)" in complaint(chat)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list\n", "42"])
def test_a_file_without_keys_is_refused(chat: Path, text: str) -> None:
    chat.write_text(text)
    assert "expected keys such as 'name: chat'" in complaint(chat)


@pytest.mark.parametrize(
    "tagged",
    ["!!python/object/apply:os.getcwd []", "!!python/name:os.getcwd ['a']", "!mine {a: b}"],
)
def test_a_yaml_tag_builds_no_python_object(chat: Path, tagged: str) -> None:
    chat.write_text(GOOD.replace("name: chat", f"name: {tagged}"))
    assert "YAML tags (!...) are not supported; remove the tag" in complaint(chat)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_any_invalid_content_is_a_scenario_error(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(content)
        with pytest.raises(ScenarioError):
            scenario_file.load(path)


def test_every_scenario_in_the_repository_is_valid() -> None:
    paths = list((Path(__file__).parents[2] / "scenarios").rglob("*.yaml"))
    assert paths
    for path in paths:
        assert scenario_file.load(path).scenario.description, f"{path} has no description"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("stop: {min_requests: 5}", None),
        ("stop: {precision: {of: ttft_p99}}", "expected `requests` or `duration` (or minima"),
        ("requests: 5\nstop: {precision: {of: tpot_p99}}", "stop.precision.of"),
        ("requests: 5\nstop: {error_rate: 2}", "stop.error_rate"),
        ("requests: 5\nstop: {min_requets: 2}", "did you mean 'min_requests'?"),
        ("requests: 5\nwarmup: auto", None),
        ("requests: 5\nwarmup: many", "warmup"),
        ("requests: 5\nslo: {chat.ttft_p99: 1 s}", None),
        ("requests: 5\nslo: {chat.tftt: 1 s}", "no such objective 'chat.tftt'"),
    ],
)
def test_stop_rules_and_objectives_are_validated(
    tmp_path: Path, lines: str, said: str | None
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nmodel: builtin:tiny\nworkload: synthetic\nload: closed\nbackends: [fake]\n"
        + lines
    )
    if said is None:
        scenario_file.load(path)
        return
    with pytest.raises(ScenarioError, match=re.escape(said)):
        scenario_file.load(path)
