"""The manifest in examples/kuberay: valid for KubeRay, with a scenario and commands of llmbench."""

from __future__ import annotations

import re
import shlex
from copy import deepcopy
from typing import Any

import kuberay
import pytest
from documents import ROOT

from llmbench.cli import build_parser
from llmbench.scenario import file
from llmbench.scenario.schema import Scenario

EXAMPLE = ROOT / "examples" / "kuberay"
TEXT = (EXAMPLE / "rayjob.yaml").read_text("utf-8")
PINS = (ROOT / "constraints.txt").read_text("utf-8")


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return kuberay.documents(EXAMPLE / "rayjob.yaml")


@pytest.fixture(scope="module")
def job(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[1]


@pytest.fixture(scope="module")
def scenario(documents: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    path = tmp_path_factory.mktemp("scenarios") / "hardware.yaml"
    path.write_text(documents[0]["data"]["hardware.yaml"])
    return file.load(path, []).scenario


def cluster(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["rayClusterSpec"]
    return spec


def containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster(job)["headGroupSpec"], *cluster(job)["workerGroupSpecs"]]
    return [one for group in groups for one in group["template"]["spec"]["containers"]]


def test_the_job_has_only_keys_of_kuberay_and_of_pods(job: dict[str, Any]) -> None:
    assert kuberay.mistakes(job) == []


def misspelled(job: dict[str, Any]) -> None:
    cluster(job)["workerGroupSpecs"][0]["groupname"] = "h100"


def without_a_name(job: dict[str, Any]) -> None:
    del cluster(job)["workerGroupSpecs"][0]["groupName"]


def with_a_misspelled_container(job: dict[str, Any]) -> None:
    containers(job)[1]["resource"] = {"limits": {"cpu": "8"}}


@pytest.mark.parametrize(
    ("spoil", "mistake"),
    [
        (misspelled, "('groupname' was unexpected)"),
        (without_a_name, "'groupName' is a required property"),
        (with_a_misspelled_container, "('resource' was unexpected)"),
    ],
)
def test_the_schema_refuses_mistakes(job: dict[str, Any], spoil: Any, mistake: str) -> None:
    spoiled = deepcopy(job)
    spoil(spoiled)
    assert any(mistake in text for text in kuberay.mistakes(spoiled))


def test_the_scenario_is_a_config_map_and_valid(
    documents: list[dict[str, Any]], job: dict[str, Any], scenario: Scenario
) -> None:
    config = documents[0]
    assert config["kind"] == "ConfigMap"
    assert [*kuberay.of_kubernetes(config)] == []
    (volume,) = cluster(job)["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert f"/scenarios/{next(iter(config['data']))}" in job["spec"]["entrypoint"]
    assert scenario.name == "hardware"


def test_each_worker_group_is_a_kind_with_a_price_and_the_cpus_that_a_run_asks_for(
    job: dict[str, Any], scenario: Scenario
) -> None:
    groups = cluster(job)["workerGroupSpecs"]
    kinds = {group["labels"]["llmbench.io/kind"] for group in groups}
    assert isinstance(scenario.price_per_hour, dict)
    assert kinds == set(scenario.price_per_hour)
    needed = scenario.model_dump()["resources"]["cpu"]
    for group in groups:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert int(limits["cpu"]) >= needed


def test_keys_come_from_a_secret_and_only_the_head_has_them(job: dict[str, Any]) -> None:
    head, *workers = containers(job)
    keys = {one["name"]: one for one in head["env"] if "KEY" in one["name"]}
    assert set(keys) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all("value" not in one and one["valueFrom"]["secretKeyRef"] for one in keys.values())
    assert not any("env" in worker for worker in workers)


def test_requests_and_limits_are_equal_and_of_whole_cpus(job: dict[str, Any]) -> None:
    for container in containers(job):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"]["cpu"].isdigit()


def test_all_nodes_have_one_image_and_the_pinned_ray(job: dict[str, Any]) -> None:
    (image,) = {container["image"] for container in containers(job)}
    assert f"-t {image} ." in (EXAMPLE / "Dockerfile").read_text("utf-8")
    assert f"ray=={cluster(job)['rayVersion']}\n" in PINS


def commands() -> list[str]:
    (entrypoint,) = re.findall(r"^  entrypoint: (llmbench .*)$", TEXT, re.MULTILINE)
    return [entrypoint, *re.findall(r"^ *#.*?(llmbench (?:run|report) .*)$", TEXT, re.MULTILINE)]


@pytest.mark.parametrize("command", commands())
def test_its_commands_are_those_of_llmbench(command: str) -> None:
    arguments = build_parser().parse_args(shlex.split(command)[1:])
    assert any("bench/hardware" in str(value) for value in vars(arguments).values())


def test_a_repeated_job_and_a_report_have_the_folder_of_the_first(job: dict[str, Any]) -> None:
    first, *others = commands()
    assert first == job["spec"]["entrypoint"]
    assert len(others) == 2
    assert all("s3://bench/hardware" in command for command in (first, *others))
