"""The options of replicas, their short forms and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import ScenarioError
from llmbench.scenario.file import load
from llmbench.scenario.replicas import ReplicasOptions

SCENARIO = """\
name: small
model: random:tiny
workload: synthetic
load: closed
requests: 3
backends: [eager]
"""


def options(tmp_path: Path, *lines: str) -> list[ReplicasOptions | None]:
    (tmp_path / "small.yaml").write_text(SCENARIO + "\n".join(lines))
    cases = load(tmp_path / "small.yaml").cases
    return [case.scenario.replicas for case in cases]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2", ReplicasOptions(count=2)),
        ("{count: 2, balance: affinity}", ReplicasOptions(count=2, balance="affinity")),
        ("[[1, 0], [3]]", ReplicasOptions(devices=((0, 1), (3,)))),
        ("['cuda:0', 'cuda:1']", ReplicasOptions(devices=("cuda:0", "cuda:1"))),
        ("{devices: [[0], [1]], count: 2}", ReplicasOptions(count=2, devices=((0,), (1,)))),
        ("null", None),
    ],
)
def test_short_forms_stand_for_a_count_or_for_devices(
    tmp_path: Path, written: str, expected: ReplicasOptions | None
) -> None:
    assert options(tmp_path, f"replicas: {written}") == [expected]


def test_the_size_is_the_count_or_the_number_of_device_sets() -> None:
    assert ReplicasOptions(count=3).size == 3
    assert ReplicasOptions(devices=((0,), (1,))).size == 2


@pytest.mark.parametrize("given", ["2", "[[0], [1]]", "{count: 2}"])
def test_the_policy_is_swept_over_any_form(tmp_path: Path, given: str) -> None:
    found = options(
        tmp_path, f"replicas: {given}", "sweep: {replicas.balance: [round-robin, two-choices]}"
    )
    assert [(it.size, it.balance) for it in found if it] == [(2, "round-robin"), (2, "two-choices")]


def test_the_number_is_swept(tmp_path: Path) -> None:
    found = options(tmp_path, "sweep: {replicas: [1, 2]}")
    assert [it.size for it in found if it] == [1, 2]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("0", "7: replicas: must be greater than or equal to 1, found 0"),
        ("257", "7: replicas: must be less than or equal to 256, found 257"),
        ("true", "7: replicas: "),
        ("two", "7: replicas: "),
        ("{balance: affinity}", "7: replicas: expected `count` or `devices`; add `count: 2`"),
        ("{count: 3, devices: [[0], [1]]}", "7: replicas: `count` is 3, but `devices` has 2 sets"),
        ("{count: 2, balance: session}", "7: replicas.balance: must be 'round-robin', 'least-"),
        ("[]", "7: replicas.devices: expected a list of 1 to 256 device sets"),
        ("[[0, 1], [1, 2]]", "7: replicas.devices: core 1 is listed 2 times; give each "),
        ("['cuda:0', 'cuda:0']", "7: replicas.devices: cuda:0 is listed 2 times; give "),
        ("[[0], 'cuda:0']", "7: replicas.devices: expected only CPU cores, or only GPUs"),
        ("[0, 1]", "7: replicas.devices: expected sets of CPU cores such as [[0, 1], [2, 3]]"),
        ("[[]]", "7: replicas.devices: expected sets of CPU cores"),
        ("[[-1]]", "7: replicas.devices: expected sets of CPU cores"),
        ("['cpu']", "7: replicas.devices: expected sets of CPU cores"),
    ],
)
def test_mistakes_are_found_on_their_line(tmp_path: Path, written: str, message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        options(tmp_path, f"replicas: {written}")
    text = str(raised.value)
    assert text.startswith(f"{tmp_path / 'small.yaml'}:{message}"), text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"[eager]": "[{kind: endpoint, name: vllm, url: 'http://a:1'}]"},
            "7: replicas: backend vllm is an endpoint; list several servers as its `url`",
        ),
        ({"[eager]": "[fake]"}, "7: replicas: processes share no virtual clock; set `clock: real`"),
        (
            {"load: closed": "load: {kind: mlperf, scenario: offline, target_qps: 1/s}"},
            "7: replicas: LoadGen (`load: mlperf`) drives one engine",
        ),
        ({"[eager]": "[eager]\nparallel: {tensor: 2}"}, "8: replicas: every replica would divide"),
        ({"backends:": "quality: {}\nbackends:"}, "6: quality: `reference` needs the model in"),
    ],
)
def test_what_has_no_replicas_is_refused(
    tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    text = SCENARIO + "replicas: 2\n"
    for old, new in changed.items():
        text = text.replace(old, new)
    (tmp_path / "small.yaml").write_text(text)
    with pytest.raises(ScenarioError) as raised:
        load(tmp_path / "small.yaml")
    assert str(raised.value).startswith(f"{tmp_path / 'small.yaml'}:{message}"), str(raised.value)


def test_answers_under_load_need_no_reference(tmp_path: Path) -> None:
    quality = "quality: {reference: null, under_load: 2}"
    assert options(tmp_path, "replicas: 2", quality) == [ReplicasOptions(count=2)]


def test_forms_stay_equal_in_stored_specs() -> None:
    forms: list[Any] = [2, [[0], [1]], {"count": 2, "balance": "affinity"}]
    for form in forms:
        given = ReplicasOptions.model_validate(form)
        stored = given.model_dump(mode="json", exclude_unset=True)
        assert ReplicasOptions.model_validate(stored) == given
