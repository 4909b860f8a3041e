"""Scenarios as tests, fed to the real pytest-benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import llmbench.report.frames  # noqa: F401 (what a run in this process imports, it takes back)
from llmbench.campaign.process import Installation
from llmbench.cli import main
from llmbench.runs.run import Failure

pytest_plugins = ["pytester"]

SCENARIO = """\
name: simulated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: constant, rate: 4/s}
requests: 10
repeats: 3
collect: []
backends: [{kind: fake, prefill: 10 ms}]
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # pytest-benchmark is off in workers
    (pytester.path / "scenarios").mkdir()
    (pytester.path / "scenarios" / "simulated.yaml").write_text(SCENARIO)
    (pytester.path / "scenarios" / "other.yaml").write_text("settings: {a: 1}\n")
    return pytester


def saved(project: pytest.Pytester, *arguments: str) -> dict[str, Any]:
    path = project.path / "saved.json"
    result = project.runpytest_inprocess("scenarios", f"--benchmark-json={path}", *arguments)
    result.assert_outcomes(passed=3)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_scenario_is_a_test_for_each_case_and_metric(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("scenarios", "-v", "--benchmark-disable")
    result.stdout.fnmatch_lines(["*simulated.yaml::test*fake-ttft_p50* PASSED*"])
    result.assert_outcomes(passed=3)


def test_pytest_benchmark_gets_one_round_per_process(project: pytest.Pytester) -> None:
    found = saved(project)
    (ttft,) = (b for b in found["benchmarks"] if "ttft_p50" in b["name"])
    assert ttft["stats"]["rounds"] == 3
    assert ttft["stats"]["median"] == pytest.approx(0.010)
    assert ttft["group"] == "simulated"
    assert ttft["extra_info"]["llmbench"]["ttft_p50"]["value"] == pytest.approx(0.010)
    assert "UNSERIALIZABLE" not in json.dumps(found)
    assert "gpus" in found["machine_info"]


def test_pytest_benchmark_compares_what_was_saved(project: pytest.Pytester) -> None:
    arguments = ("scenarios", "--benchmark-save=one", "--benchmark-save-data")
    project.runpytest_inprocess(*arguments).assert_outcomes(passed=3)
    path = project.path / "scenarios" / "simulated.yaml"
    path.write_text(SCENARIO.replace("10 ms", "20 ms"))
    again = project.runpytest_inprocess(
        "scenarios", "--benchmark-compare", "--benchmark-compare-fail=median:5%"
    )
    assert again.ret != 0
    assert "Performance has regressed" in again.stderr.str()


def test_the_command_of_pytest_benchmark_reads_it(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("scenarios", "--benchmark-save=one").assert_outcomes(passed=3)
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare"],
        cwd=project.path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "ttft_p50" in shown.stdout


def test_stored_results_are_exported_for_its_command(project: pytest.Pytester) -> None:
    scenario = project.path / "scenarios" / "simulated.yaml"
    for name, prefill in (("a", "10 ms"), ("b", "20 ms")):
        scenario.write_text(SCENARIO.replace("10 ms", prefill))
        main(["run", str(scenario), "--out", str(project.path / name), "--json"])
        file = str(project.path / f"{name}.json")
        main(["export", str(project.path / name), "--format", "pytest-benchmark", "--out", file])
    command = [sys.executable, "-m", "pytest_benchmark", "compare", "--columns=median"]
    shown = subprocess.run(
        [*command, "a.json", "b.json"], cwd=project.path, capture_output=True, text=True, check=True
    )
    assert "fake[TTFT p50] (a)" in shown.stdout
    assert "(2.00)" in shown.stdout


def test_measurements_of_other_hardware_are_not_compared(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("scenarios", "--benchmark-save=one").assert_outcomes(passed=3)
    (path,) = project.path.glob(".benchmarks/*/*.json")
    told = json.loads(path.read_text())
    told["machine_info"]["gpus"] = [{"name": "Another", "memory_bytes": 1}]
    path.write_text(json.dumps(told))
    result = project.runpytest_inprocess("scenarios", "--benchmark-compare", "-W", "ignore")
    assert result.ret != 0
    assert "on different hardware" in "\n".join([*result.outlines, *result.errlines])


def test_it_works_without_pytest_benchmark(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("scenarios", "-p", "no:benchmark").assert_outcomes(passed=3)


@pytest.mark.slow
def test_it_works_with_xdist(project: pytest.Pytester) -> None:
    path = project.path / "scenarios" / "simulated.yaml"
    path.write_text(SCENARIO.replace("repeats: 3", "repeats: 1"))
    result = project.runpytest_subprocess("scenarios", "-n", "2", "--benchmark-disable")
    result.assert_outcomes(passed=3)


def test_a_bad_scenario_is_an_error_of_collection_without_a_traceback(
    project: pytest.Pytester,
) -> None:
    path = project.path / "scenarios" / "simulated.yaml"
    path.write_text(SCENARIO.replace("requests:", "requets:"))
    result = project.runpytest_inprocess("scenarios")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*requets: no such key; did you mean 'requests'?*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_case_that_cannot_be_measured_fails(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure("timeout", "did not finish within 1 s")
    monkeypatch.setattr(Installation, "launch", lambda *_: failure)
    result = project.runpytest_inprocess("scenarios", "--benchmark-disable", "-W", "ignore")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*did not finish within*"])


def test_a_test_in_python_measures_a_scenario_once(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_ttft(llmbench_run):
            found = llmbench_run("scenarios/simulated.yaml", "repeats=1")
            assert found is llmbench_run("scenarios/simulated.yaml", "repeats=1")
            ttft = found.summary.set_index("metric").loc["ttft_p50", "value"]
            assert abs(ttft - 0.010) < 1e-6
        """
    )
    out = project.path / "kept"
    result = project.runpytest_inprocess("--llmbench-out", str(out), "-k", "test_ttft")
    result.assert_outcomes(passed=1)
    assert (Path(out) / "simulated-1" / "runset.json").is_file()
