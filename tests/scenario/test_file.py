"""Scenario files are read; errors name file, line and key."""

from __future__ import annotations

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.cases import Case, normal_spec, portable, readable
from llmbench.scenario.file import MAX_BYTES, MAX_CASES, MAX_SLUG
from llmbench.scenario.mistakes import locate
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
        (
            "requests: 20",
            "requests: 20\nprice_per_hour: 2 USD",
            "chat.yaml:8: price_per_hour: must be a number, found '2 USD'",
        ),
        (
            "requests: 20",
            "requests: 20\nprice_per_hour: {H100: 3.2, L4: 2 USD}",
            "chat.yaml:8: price_per_hour.L4: must be a number, found '2 USD'",
        ),
        ("rate: 4/s", "ratee: 4", "chat.yaml:6: load.ratee: no such key; did you mean 'rate'?"),
        ("poisson", "poison", "chat.yaml:4: load: no such kind 'poison'; did you mean 'poisson'?"),
        ("requests: 20", "requests: 0", "chat.yaml:7: requests: must be greater than 0, found 0"),
        ("requests: 20", "requests: many", "chat.yaml:7: requests: must be a whole number"),
        (
            "requests: 20",
            "requests: 20\nengine: {threads: many}",
            "chat.yaml:8: engine.threads: must be a whole number or 'auto', found 'many'",
        ),
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
            "requests: 20\nsweep: {load.rate: 2/s}",
            "chat.yaml:8: sweep.load.rate: must be a list, found '2/s'; write [2/s]",
        ),
        (
            "requests: 20",
            "requests: 20\nsweep: {load: {rate: [2]}}",
            "sweep.load: must be a list, found {'rate': [2]}; write each swept key with dots",
        ),
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
        ("requests: 20", "slo: {ttft_p98: 1 s}\nrequests: 1", "no such objective 'ttft_p98'"),
        ("name: chat", "name: ../chat", "name: String must match pattern"),
        (
            "requests: 20",
            "duration: 30",
            "chat.yaml:7: duration: a duration needs its unit; write 30 ms or 30 s, found 30",
        ),
        (
            "requests: 20",
            "requests: 20\nslo: {ttft_p99: '500'}",
            "slo.ttft_p99: a duration needs its unit; write 500 ms or 500 s, found '500'",
        ),
        ("per_token: 10 ms", "per_token: 0.5", "backends.1.per_token: a duration needs its unit"),
        (
            "requests: 20",
            "requests: 20\nsweep: {timeout: [1 s, 2]}",
            "chat.yaml:8: timeout: a duration needs its unit; write 2 ms or 2 s, found 2",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_a_remedy(
    chat: Path, old: str, new: str, message: str
) -> None:
    assert message in complaint(edited(chat, old, new))


def test_one_key_of_a_sweep_can_be_set(chat: Path) -> None:
    chat.write_text(f"{GOOD}\nsweep: {{engine.slots: [4], load.rate: [8]}}")
    source = scenario_file.load(chat, ["sweep.load.rate=[1, 2]"])
    assert source.scenario.sweep == {"engine.slots": [4], "load.rate": [1, 2]}
    assert source.origins["sweep", "load.rate"] == "--set sweep.load.rate=[1, 2]"


def test_a_duration_of_zero_needs_no_unit(chat: Path) -> None:
    slow = scenario_file.load(edited(chat, "per_token: 10 ms", "per_token: 0")).cases[1]
    assert slow.backend_options.per_token == 0


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("engine.device=cpu", "no such key; did you mean 'model.device'?"),
        ("concurrency=8", "no such key; did you mean 'load.concurrency' of closed?"),
        ("engine.seed=1", "no such key; did you mean 'model.seed' or 'seed'?"),
        ("provider=cuda", "no such key; did you mean 'backends: [{kind: onnx, provider: ...}]'?"),
        (
            "backends=fake,eager",
            "must be a list, found 'fake,eager'; write --set 'backends=[fake, eager]'",
        ),
        (
            "sweep.load.rate=2,4",
            "must be a list, found '2,4'; write --set 'sweep.load.rate=[2, 4]'",
        ),
        ("sweep.load.rate=2", "must be a list, found 2; write --set 'sweep.load.rate=[2]'"),
    ],
)
def test_a_mistake_has_a_hint_across_sections(chat: Path, override: str, hint: str) -> None:
    key = override.partition("=")[0]
    assert complaint(chat, override) == f"--set {override}: {key}: {hint}"


def test_all_mistakes_of_a_file_are_reported_at_once(chat: Path) -> None:
    chat.write_text(GOOD.replace("4/s", "-1").replace("requests: 20", "requests: -2"))
    assert len(complaint(chat).splitlines()) == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("load.rate=-1", "--set load.rate=-1: load.rate: must be greater than 0"),
        (
            "engine.queue={policy: priority, weights: {a: 0}}",
            "engine.queue.weights.a: must be greater than 0, found 0",
        ),
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


def test_places_have_no_folders_of_this_machine(
    chat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(chat.parent))
    assert scenario_file.load(chat).origins["name",] == "~/chat.yaml:1"
    monkeypatch.chdir(chat.parent)
    assert scenario_file.load(chat).origins["name",] == "chat.yaml:1"
    assert scenario_file.load("./chat.yaml").origins["name",] == "chat.yaml:1"


def test_a_missing_file_suggests_its_neighbor(chat: Path) -> None:
    assert "did you mean" in complaint(chat.with_name("chad.yaml"))


def test_a_folder_is_not_a_scenario(tmp_path: Path) -> None:
    assert "is a folder" in complaint(tmp_path)


def test_a_pipe_is_not_a_scenario(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert complaint(tmp_path / "pipe.yaml") == (
        "pipe.yaml: is a pipe or a device; expected a scenario file"
    )
    assert "is a pipe or a device" in complaint(Path("/dev/zero"))


def test_a_long_file_is_refused(chat: Path) -> None:
    chat.write_text(GOOD + "#" * MAX_BYTES)
    assert complaint(chat) == "chat.yaml: is longer than 128 KiB; expected a scenario file"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_and_a_byte_order_mark_are_read(chat: Path, encoding: str, end: str) -> None:
    chat.write_bytes(GOOD.replace("\n", end).encode(encoding))
    source = scenario_file.load(chat)
    assert source.text == GOOD
    assert source.origins["requests",] == f"{chat}:7"


def test_utf_16_is_refused_by_its_name(chat: Path) -> None:
    chat.write_bytes(GOOD.encode("utf-16"))
    assert complaint(chat) == "chat.yaml: is UTF-16 text (byte 0); save it as UTF-8"
    chat.write_bytes(GOOD.encode("utf-16-le"))
    assert complaint(chat).startswith("chat.yaml:1: not valid YAML: found the control character")


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


def test_backends_may_share_keys_by_yaml_merge_keys(chat: Path) -> None:
    merged = "  - &slow {kind: fake, per_token: 10 ms}\n  - {<<: *slow, name: next, prefill: 1 s}\n"
    chat.write_text(GOOD.partition("  - fake")[0] + merged)
    slow, slower = (case.backend_options for case in scenario_file.load(chat).cases)
    assert (slow.name, slow.per_token, slow.prefill) == ("fake", 0.01, 0.02)
    assert (slower.name, slower.per_token, slower.prefill) == ("next", 0.01, 1.0)


def test_a_mistake_in_a_merged_key_has_the_line_where_it_is_written(chat: Path) -> None:
    merged = "  - &slow\n    kind: fake\n    per_token: -1\n  - {<<: *slow, name: slower}\n"
    chat.write_text(GOOD.partition("  - fake")[0] + merged)
    assert complaint(chat).splitlines() == [
        "chat.yaml:11: backends.0.per_token: must be greater than or equal to 0, found -1.0",
        "chat.yaml:11: backends.1.per_token: must be greater than or equal to 0, found -1.0",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timeout: 1" + "0" * 400, "chat.yaml:7: not valid YAML: found an integer of 401 digits"),
        ("timeout: 1e400", "chat.yaml:7: timeout: expected a number below 1e+18, found inf"),
        ("timeout: .nan", "chat.yaml:7: timeout: expected a number below 1e+18, found nan"),
        (f"timeout: {'1' * 50_000} !", "chat.yaml:7: timeout: expected a number or text such as"),
        ("timeout: 999999999 s", "chat.yaml:7: timeout: must be less than or equal to 31622400"),
        (
            "engine: {slots: 100000}",
            "chat.yaml:7: engine.slots: must be less than or equal to 65536",
        ),
        ("engine: {threads: 5000}", "must be less than or equal to 4096 or 'auto', found 5000"),
        ("max_in_flight: 100001", "must be less than or equal to 100000, found 100001"),
        ("warmup: 100000001", "must be less than or equal to 100000000 or 'auto', found 100000001"),
        ("stop: {min_requests: 100000001}", "must be less than or equal to 100000000"),
        ("duration: 9600 h", "chat.yaml:7: duration: must be less than or equal to 31622400"),
        ("gate: {screen: 1001}", "chat.yaml:7: gate.screen: must be less than or equal to 1000"),
        ("price_per_hour: .inf", "chat.yaml:7: price_per_hour: must be a finite number, found inf"),
        ("seed: 1" + "0" * 4400, "chat.yaml:7: not valid YAML: found an integer of 4,401 digits"),
        ("slo: {{a: 1}: 3}", "chat.yaml:7: not valid YAML: expected a key of text or a number"),
        ("description: " + "[" * 2000, "chat.yaml:7: not valid YAML: found more than 32 levels"),
        ("sweep: {requests.more: [1, 2]}", "chat.yaml:7: sweep.requests.more: 'requests' has no"),
        ("sweep: {backends.0.name: [1]}", "chat.yaml:7: sweep: backends.0.name cannot be swept"),
        ("repeats: 100000", "chat.yaml:7: repeats: found 200,000 runs (100,000 of each case)"),
        ('"a\\nb\\e[31m": 1', "chat.yaml:7: a\\nb\\x1b[31m: no such key"),
        ("name: 'a'", "chat.yaml:7: not valid YAML: found duplicate key 'name'"),
        ("\tslo: {}", "chat.yaml:7: not valid YAML: found character '\\t' that cannot start any"),
    ],
)
def test_an_extreme_value_is_reported_with_its_line(chat: Path, line: str, message: str) -> None:
    assert message in complaint(edited(chat, "requests: 20", f"{line}\nrequests: 20"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rate: 4/s", "rate: 1000001/s", "load.rate: must be less than or equal to 1000000, found"),
        (
            "load:\n  kind: poisson\n  rate: 4/s",
            "load: {kind: closed, concurrency: 100001}",
            "chat.yaml:4: load.concurrency: must be less than or equal to 100000, found 100001",
        ),
        (
            "requests: 20",
            "requests: 100000001",
            "chat.yaml:7: requests: must be less than or equal to 100000000, found 100000001",
        ),
    ],
)
def test_a_load_beyond_its_bounds_is_refused(chat: Path, old: str, new: str, message: str) -> None:
    assert message in complaint(edited(chat, old, new))


def test_many_mistakes_are_counted(chat: Path) -> None:
    chat.write_text(GOOD + "".join(f"key{n}: {n}\n" for n in range(5_000)))
    *shown, rest = complaint(chat).splitlines()
    assert shown[0].startswith("chat.yaml:11: key0: no such key; known: ")
    assert rest == f"and {5_000 - len(shown):,} more mistakes"


@pytest.mark.parametrize("key", ["k" * 50_000, "k." * 20_000 + "k", "workload." + "k" * 9_000])
def test_messages_about_long_keys_are_short(chat: Path, key: str) -> None:
    assert len(complaint(chat, f"{key}=1")) < 1_000
    assert len(complaint(chat, f"sweep={{{key}: [1]}}")) < 1_000


def test_a_sweep_of_many_cases_is_refused_before_it_is_expanded(chat: Path) -> None:
    values = ", ".join(map(str, range(1, 600)))
    assert complaint(chat, f"sweep={{load.rate: [{values}]}}").endswith(
        "sweep: found 1,198 cases (every backend at every combination of values); at most "
        f"{MAX_CASES:,} are possible, list fewer values"
    )
    twice = ", ".join(f"a{n}: [1, 2]" for n in range(2_000))
    assert "found over a billion cases" in complaint(chat, f"sweep={{{twice}}}")


def test_a_case_whose_name_is_too_long_for_a_folder_is_refused(chat: Path) -> None:
    assert "found a case with a name of 300 characters" in complaint(
        edited(chat, "name: slow", f"name: {'s' * 300}")
    )
    scenario_file.load(edited(chat, "name: slow", f"name: {'s' * MAX_SLUG}"))


def test_the_cases_of_a_sweep_share_nothing(chat: Path) -> None:
    sweep = "sweep={load: [{kind: closed}], load.concurrency: [1, 2]}"
    cases = scenario_file.load(chat, ["load=closed", sweep]).cases
    assert [case.spec["load"]["concurrency"] for case in cases] == [1, 1, 2, 2]


def test_a_key_of_a_message_has_its_place(chat: Path) -> None:
    source = scenario_file.load(chat, ["model.dtype=float32"])
    assert locate("workload.path: missing", source.places) == f"{chat}:3: workload.path: missing"
    assert locate("model.dtype: no", source.places) == "--set model.dtype=float32: model.dtype: no"
    assert locate("compress: no", source.places) == "compress: no"
    assert locate("a sentence: with a colon", source.places) == "a sentence: with a colon"


@pytest.mark.parametrize(
    ("abandon", "said"),
    [
        ("{share: 1.5, after: 2 s}", "abandon.share"),
        ("{share: 0.1}", "add `after: 2 s` or `tokens: 16`"),
        ("{share: 0.1, after: 2 s, tokens: 16}", "found both; remove one of them"),
        ("{share: 0.1, after: 2}", "a duration needs its unit; write 2 ms or 2 s"),
        ("{share: 0.1, after: 0 s}", "abandon.after"),
        ("{share: 0.1, tokens: 0}", "abandon.tokens"),
        ("{after: 2 s}", "abandon.share"),
    ],
)
def test_mistakes_in_abandon_are_named_with_their_place(
    chat: Path, abandon: str, said: str
) -> None:
    message = complaint(edited(chat, "requests: 20", f"requests: 20\nabandon: {abandon}"))
    assert said in message
    assert "chat.yaml:8" in message


def test_tokens_of_users_who_give_up_need_streaming(chat: Path) -> None:
    chat.write_text(GOOD + "  - {kind: endpoint, url: 'http://localhost', stream: false}\n")
    message = complaint(chat, "abandon={share: 0.1, tokens: 4}")
    assert "remove its `stream: false`, or set `abandon.after`" in message
    assert scenario_file.load(chat, ["abandon={share: 0.1, after: 2 s}"]).scenario.abandon
