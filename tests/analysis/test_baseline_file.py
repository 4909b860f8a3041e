"""Baseline files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from analysis.compare.test_comparison import SIX, TOLERATED, run_set, slower
from node_sets import ENERGY, THROUGHPUT, Nodes, of

from llmbench.analysis import baseline_file
from llmbench.analysis.compare.comparison import compare
from llmbench.analysis.metrics import METRICS, summarize
from llmbench.errors import InputError


def test_a_baseline_file_reads_back_with_every_known_metric(tmp_path: Path) -> None:
    measured = run_set("a", x=SIX, y=slower(2))
    baseline_file.write(measured, tmp_path / "a.json")
    read = baseline_file.read(tmp_path / "a.json")
    for run, restored in zip(measured.runs, read.runs, strict=True):
        assert (run.case, run.repeat) == (restored.case, restored.repeat)
        before, after = summarize(run), summarize(restored)
        for name in METRICS:
            assert after[name].value == before[name].value
            assert after[name].value is None or after[name].n == before[name].n


def test_a_baseline_file_compares_as_the_run_set_does(tmp_path: Path) -> None:
    baseline, candidate = run_set("a", x=SIX), run_set("b", x=slower(1.2))
    baseline_file.write(baseline, tmp_path / "a.json")
    comparison = compare(baseline_file.read(tmp_path / "a.json"), candidate, TOLERATED)
    assert comparison.cases == compare(baseline, candidate, TOLERATED).cases


def test_the_old_spelling_of_metrics_is_read(tmp_path: Path) -> None:
    old = baseline_file.summary(run_set("a", x=SIX))
    for case in old["cases"]:
        for latency in ("ttft", "service_ttft"):
            case["metrics"][f"{latency}_seconds_p50"] = case["metrics"].pop(f"{latency}_p50")
    (tmp_path / "a.json").write_text(json.dumps(old))
    values = [
        summarize(run)["ttft_p50"].value for run in baseline_file.read(tmp_path / "a.json").runs
    ]
    assert values == pytest.approx(SIX)


def test_a_file_without_commits_and_meters_is_read(tmp_path: Path) -> None:
    measured = run_set("a", x=SIX)
    old = baseline_file.summary(measured)
    for case in old["cases"]:
        del case["commit"], case["energy"]
    (tmp_path / "a.json").write_text(json.dumps(old))
    assert len(baseline_file.read(tmp_path / "a.json").runs) == len(measured.runs)


def test_a_file_keeps_the_machine_and_the_meters_of_each_process(tmp_path: Path) -> None:
    measured = of(Nodes("L4", {THROUGHPUT: SIX}, ["GPU-1", "GPU-2"]))
    baseline_file.write(measured, tmp_path / "a.json")
    for run, restored in zip(
        measured.runs, baseline_file.read(tmp_path / "a.json").runs, strict=True
    ):
        assert restored.facts["node"] == run.facts["node"]
        assert restored.facts["energy"] == run.facts["energy"]
        assert restored.environment["gpus"] == run.environment["gpus"]


def test_a_file_whose_machines_have_other_processes_is_refused(tmp_path: Path) -> None:
    content = baseline_file.summary(of(Nodes("L4", {THROUGHPUT: SIX}, ["GPU-1", "GPU-2"])))
    content["cases"][0]["machines"].pop()
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="expected each of `processes` on one of the `machines`"):
        baseline_file.read(tmp_path / "a.json")


def test_energies_of_other_cards_in_a_file_have_their_allowance(tmp_path: Path) -> None:
    energies = {ENERGY: SIX}
    baseline_file.write(of(Nodes("L4", energies, ["GPU-1", "GPU-2"])), tmp_path / "a.json")
    same, other = (of(Nodes("L4", energies, cards)) for cards in (["GPU-1", "GPU-2"], ["GPU-1"]))
    baseline = baseline_file.read(tmp_path / "a.json")
    outcomes = [
        compare(baseline, candidate, {ENERGY: 0.03}).cases[0].verdicts[ENERGY].outcome
        for candidate in (same, other)
    ]
    assert outcomes == ["equivalent", "inconclusive"]


def test_a_metric_that_is_not_in_a_baseline_file_says_so(tmp_path: Path) -> None:
    baseline_file.write(run_set("a", x=SIX), tmp_path / "a.json")
    run = baseline_file.read(tmp_path / "a.json").runs[0]
    assert summarize(run)["perplexity"].reason == "missing in the run's summary"


def test_a_metric_is_one_line_of_the_file(tmp_path: Path) -> None:
    baseline_file.write(run_set("a", x=SIX), tmp_path / "a.json")
    lines = (tmp_path / "a.json").read_text().splitlines()
    values = [line for line in lines if line.lstrip().startswith('"values"')]
    assert len(values) > 10
    assert all(len(json.loads(line.partition(":")[2].rstrip(","))) == 6 for line in values)


def test_a_set_without_a_measured_run_is_refused() -> None:
    with pytest.raises(InputError, match="no measured run"):
        baseline_file.summary(run_set("a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("[]", r"found \[\]; expected a JSON object; recreate it"),
        ('{"format": "another"}', r"'another' - at `\$\.format`; recreate it"),
        ('{"format": "llmbench summary", "version": 9}', r"9 - at `\$\.version`; recreate it"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=rf"a\.json.*: .*{message}"):
        baseline_file.read(tmp_path / "a.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.json: cannot be read: No such file"):
        baseline_file.read(tmp_path / "a.json")


def test_a_wrong_value_is_refused_with_its_key(tmp_path: Path) -> None:
    wrong = baseline_file.summary(run_set("a", x=SIX))
    wrong["cases"][0]["metrics"]["ttft_p50"]["values"][0] = "fast"
    (tmp_path / "a.json").write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=r"at `\$\.cases\[0\]\.metrics\[\.\.\.\]\.values\[0\]`"):
        baseline_file.read(tmp_path / "a.json")


def test_a_file_of_version_1_had_one_schedule_for_all_repeats(tmp_path: Path) -> None:
    old = {**baseline_file.summary(run_set("a", x=SIX)), "version": 1}
    for case in old["cases"]:
        case["schedule"] = "abc"
        case["spec"]["workload"] = "synthetic"
        del case["schedules"]
    (tmp_path / "a.json").write_text(json.dumps(old))
    runs = baseline_file.read(tmp_path / "a.json").runs
    assert {run.facts["schedule_sha256"] for run in runs} == {"abc"}
    assert not runs[0].case.is_seeded_per_repeat


def test_every_repeat_keeps_its_schedule(tmp_path: Path) -> None:
    measured = run_set("a", x=SIX)
    runs = tuple(replace(r, facts={"schedule_sha256": f"{r.repeat}"}) for r in measured.runs)
    baseline_file.write(replace(measured, runs=runs), tmp_path / "a.json")
    read = baseline_file.read(tmp_path / "a.json").runs
    assert [r.facts["schedule_sha256"] for r in read] == [str(r.repeat) for r in read]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slug": "../../x"}, r"regex .* - at `\$\.cases\[0\]\.slug`"),
        ({"processes": [1, 1, 2, 3, 4, 5]}, "2 processes are 1"),
        ({"processes": [1]}, "expected one value, count and schedule for each of `processes`"),
        ({"processes": []}, "expected one value, count and schedule for each of `processes`"),
        ({"schedules": ["a"]}, "expected one value, count and schedule for each of `processes`"),
        ({"environment": {"gpus": 5}}, r"got `int` - at `environment\.gpus`"),
        ({"effective": {"cache": 5}}, r"got `int` - at `effective\.cache`"),
        ({"energy": {"gpu0": {"method": None}}}, r"got `null` - at `energy\[...\]\.method`"),
        ({"spec": {"slo": {"ttft": "soon"}}}, "expected a number or text such as '500 ms'"),
        ({"spec": {"slo": {"speed": 1}}}, "no such objective"),
        ({"metrics": {"ttft_p50": {"values": [float("nan")], "n": [1]}}}, "expected a number"),
    ],
)
def test_a_case_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    wrong = baseline_file.summary(run_set("a", x=SIX))
    wrong["cases"][0] |= changes
    (tmp_path / "a.json").write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=rf"a\.json: not in llmbench's format: .*{message}"):
        baseline_file.read(tmp_path / "a.json")
