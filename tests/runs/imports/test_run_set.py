"""Imported results are a run set like any other, and say what they are."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from foreign_results import AIPERF, GUIDELLM, GUIDELLM_EARLY, VLLM, changed

from llmbench import report
from llmbench.analysis import harness_validity
from llmbench.errors import InputError
from llmbench.report import scenario_text
from llmbench.report.results import Results
from llmbench.report.sections import findings
from llmbench.runs.imports.run_set import import_results
from llmbench.runs.run_set import RunSet


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """One file of each tool."""
    return import_results([VLLM, GUIDELLM, AIPERF], tmp_path_factory.mktemp("kept") / "old")


def test_each_file_is_a_case_named_by_its_tool_and_file(kept: RunSet) -> None:
    assert list(kept.by_case()) == ["vllm vllm", "guidellm guidellm", "aiperf profile_export"]
    assert kept.name == "old"
    assert not kept.missing


def test_every_run_has_a_caveat_with_the_tool_and_from_when_latencies_count(kept: RunSet) -> None:
    for run, tool in zip(
        kept.runs, ("vllm bench serve", "guidellm 0.8.1", "aiperf 0.13.0"), strict=True
    ):
        (caveat,) = (caveat for caveat in run.caveats if caveat.kind == "imported")
        assert f"Imported from {tool}:" in caveat.message
        assert "latencies count from" in caveat.message


def test_no_imported_run_is_valid(kept: RunSet) -> None:
    assert "valid" not in {
        judged.verdict for judged in harness_validity.validity_by_case(kept).values()
    }


def test_without_symptoms_of_the_client_the_verdict_is_unknown(tmp_path: Path) -> None:
    kept = import_results([GUIDELLM_EARLY], tmp_path / "old", "early")
    assert harness_validity.validity_by_case(kept)["early"].verdict == "unknown"
    kinds = [finding.caveat.kind for finding in findings.find(Results(kept))]
    assert "imported" in kinds
    assert not any(kind.startswith("harness") for kind in kinds)


def test_the_page_describes_the_import_and_how_to_repeat_it(kept: RunSet) -> None:
    texts = dict(scenario_text.described(Results(kept)))
    assert f"{GUIDELLM}, by guidellm 0.8.1" in texts["Imported"]
    assert texts["Model"] == "example/model; truth"
    assert texts["Load"].startswith("poisson, rate 8.0, max_in_flight 3; constant, rate 10.0")
    assert "Repeats" not in texts
    first, second = scenario_text.commands(kept)
    assert first == f"llmbench import {VLLM} {GUIDELLM} {AIPERF} --out old"
    assert second == "llmbench report old"


def test_an_import_has_a_report(kept: RunSet, tmp_path: Path) -> None:
    report.write(kept, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "guidellm guidellm" in page
    assert "does not report whether its client kept up" in page


def test_a_sweep_has_one_case_per_load(tmp_path: Path) -> None:
    def sweep(document: Any) -> None:
        document["benchmarks"].append(deepcopy(document["benchmarks"][0]))
        document["benchmarks"][1]["config"]["strategy"]["rate"] = 20.0

    kept = import_results([changed(GUIDELLM, tmp_path, sweep)], tmp_path / "old", "before")
    assert list(kept.by_case()) == ["before, load.rate=10.0", "before, load.rate=20.0"]
    texts = dict(scenario_text.described(Results(kept)))
    assert (texts["Load"], texts["Sweep"]) == ("constant, rate (swept)", "load.rate 10.0, 20.0")


def test_files_of_one_name_are_distinguished_by_their_folders(tmp_path: Path) -> None:
    copies = [tmp_path / name / AIPERF.name for name in ("before", "after")]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(AIPERF, copy)
    kept = import_results(copies, tmp_path / "old")
    assert list(kept.by_case()) == [
        "aiperf before/profile_export", "aiperf after/profile_export",
    ]  # fmt: skip


def test_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 cases would have the name 'vllm imports/vllm'"):
        import_results([VLLM, VLLM], tmp_path / "old")


def test_a_name_is_for_one_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name is for a single file"):
        import_results([VLLM, GUIDELLM], tmp_path / "old", "before")
    assert list(import_results([VLLM], tmp_path / "old", "before").by_case()) == ["before"]


def test_nothing_is_written_when_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        import_results([VLLM, tmp_path / "none.json"], tmp_path / "old")
    assert not (tmp_path / "old").exists()
