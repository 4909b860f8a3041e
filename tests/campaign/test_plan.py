"""A scenario is checked before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.campaign import plan
from llmbench.errors import InputError, MissingExtraError
from llmbench.plugins import Kind
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: planned
model: random:tiny
workload:
  kind: synthetic
  prompt_tokens: 8
load: closed
requests: 10
backends:
  - eager
"""


def refusal(folder: Path, *overrides: str, text: str = SCENARIO) -> str:
    (folder / "planned.yaml").write_text(text)
    source = scenario_file.load(folder / "planned.yaml", overrides)
    with pytest.raises(InputError) as caught:
        plan.check(source)
    return str(caught.value).replace(f"{folder}/", "")


def test_prompts_beyond_the_context_are_refused_before_a_worker_starts(tmp_path: Path) -> None:
    text = SCENARIO.replace("tokens: 8", "tokens: 100000")
    assert refusal(tmp_path, text=text).startswith(
        "planned.yaml:3: workload: the longest request has 100032 tokens (prompt and output) but "
        "the model's context holds 2048"
    )


@pytest.mark.parametrize("sweep", ["fake", "{kind: endpoint, url: 'http://localhost:1'}"])
def test_the_context_of_a_server_is_unknown(tmp_path: Path, sweep: str) -> None:
    (tmp_path / "planned.yaml").write_text(SCENARIO.replace("tokens: 8", "tokens: 100000"))
    plan.check(scenario_file.load(tmp_path / "planned.yaml", [f"backends=[{sweep}]"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model=./nowhere",
            "--set model=./nowhere: model: nowhere: no such folder; check the path",
        ),
        ("model.dtype=auto", "planned.yaml:2: model: "),
        (
            "workload={kind: dataset, path: nowhere.jsonl}",
            "--set workload={kind: dataset, path: nowhere.jsonl}: workload: nowhere.jsonl: ",
        ),
        (
            "slo={chat.ttft: 1 s}",
            "--set slo={chat.ttft: 1 s}: slo: the workload has no requests of",
        ),
        (
            "slo={job_p95: 1 s}",
            "--set slo={job_p95: 1 s}: slo: job_p95 is an objective of jobs, and",
        ),
        ("quality={text: nowhere.txt}", "--set quality={text: nowhere.txt}: quality.text: nowhere"),
    ],
)
def test_what_is_missing_is_reported_with_the_place_of_its_key(
    tmp_path: Path, override: str, message: str
) -> None:
    text = SCENARIO.replace("random:tiny", "./nowhere") if "dtype" in override else SCENARIO
    assert refusal(tmp_path, override, text=text).startswith(message)


def test_a_workload_with_jobs_has_objectives_of_jobs(tmp_path: Path) -> None:
    (tmp_path / "planned.yaml").write_text(SCENARIO)
    jobs = ["workload={kind: agents, turns: 2}", "slo={job_p95: 1 s}"]
    mixed = ["workload={kind: mixed, classes: {a: {workload: agents}}}", "slo={a.job: 1 s}"]
    for overrides in (jobs, mixed):
        plan.check(scenario_file.load(tmp_path / "planned.yaml", overrides))


def test_a_missing_package_is_reported_with_the_line_of_the_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require(_: str) -> None:
        raise MissingExtraError("backend 'eager'", "torch", "local")

    monkeypatch.setattr(Kind, "require", lambda _, name: require(name))
    assert refusal(tmp_path).startswith("planned.yaml:8: backends: backend 'eager' needs torch")


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (
            "eager",
            "4 does not divide the 4 attention heads and 2 key-value heads of random:tiny; use 2",
        ),
        (
            "{kind: eager, compress: {prune: {kind: layers, layers: [1]}}}",
            "a divided model cannot be compressed; remove `compress` or `parallel`",
        ),
        (
            "compiled",
            "compiled runs a model in one process; use the backend eager, or remove `parallel`",
        ),
        (
            "{kind: endpoint, url: 'http://localhost:1'}",
            (
                "a server divides its model itself, such as vLLM with `tensor-parallel-size` in "
                "`server.arguments`; remove `parallel`"
            ),
        ),
    ],
)
def test_a_model_that_cannot_be_divided_is_refused(
    tmp_path: Path, backend: str, message: str
) -> None:
    override = "parallel.tensor=4"
    assert refusal(tmp_path, f"backends=[{backend}]", override) == (
        f"--set {override}: parallel.tensor: {message}"
    )


def test_a_model_is_divided_by_a_number_that_divides_its_heads(tmp_path: Path) -> None:
    (tmp_path / "planned.yaml").write_text(SCENARIO)
    plan.check(scenario_file.load(tmp_path / "planned.yaml", ["parallel.tensor=2"]))
    text = SCENARIO.replace("random:tiny", "random:smollm2-135m")
    assert refusal(tmp_path, "parallel.tensor=2", text=text).endswith("random:smollm2-135m; use 3")


CLASSES = """\
name: planned
model: random:tiny
workload:
  kind: mixed
  classes:
    chat: {workload: synthetic}
    batch:
      model: adapter
      priority: 5
      workload: synthetic
load: closed
requests: 10
backends:
  - eager
"""


@pytest.mark.parametrize("backend", ["eager", "fake"])
def test_a_local_backend_refuses_what_only_a_server_can_honor(tmp_path: Path, backend: str) -> None:
    assert refusal(tmp_path, f"backends=[{backend}]", text=CLASSES) == (
        f"planned.yaml:7: workload.classes.batch: the backend `{backend}` runs one model in this "
        "process and cannot honor `model`, `priority`; remove it, or measure an `endpoint`"
    )


def test_an_endpoint_takes_classes_with_their_own(tmp_path: Path) -> None:
    (tmp_path / "planned.yaml").write_text(CLASSES)
    backends = "backends=[{kind: endpoint, url: 'http://localhost:1'}]"
    plan.check(scenario_file.load(tmp_path / "planned.yaml", [backends]))
