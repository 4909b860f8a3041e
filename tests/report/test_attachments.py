"""What a report shows with a run set."""

from __future__ import annotations

from pathlib import Path

import profiles
import pytest

from llmbench.analysis import history
from llmbench.errors import InputError
from llmbench.report import attachments, pages
from llmbench.runs import profile
from llmbench.runs.run_set import RunSet


def stored_profile(folder: Path, name: str) -> Path:
    made = profiles.profile(folder, profiles.case("swift"), name=name)
    profile.create(made)
    for case in made.cases:
        profile.add(folder, case)
    return folder


def stored_history(folder: Path, run_set: RunSet) -> Path:
    history.add(folder / "history.jsonl", [run_set])
    return folder / "history.jsonl"


def test_a_history_and_a_profile_of_the_scenario_are_in_the_page(
    sample: RunSet, tmp_path: Path
) -> None:
    shown = attachments.read(
        "sample", stored_history(tmp_path, sample), stored_profile(tmp_path / "p", "sample")
    )
    page = pages.report(sample, attachments=shown)
    assert '<h2 id="history">History</h2>' in page
    assert 'id="nights-ttft_p50"' in page
    assert "Step time by category" in page
    assert "swift, decode: a step takes 4.00 ms" in page


def test_without_them_there_is_no_place_for_them(sample: RunSet) -> None:
    page = pages.report(sample)
    assert 'id="history"' not in page
    assert "Step time by category" not in page


def test_a_history_of_other_scenarios_is_refused_and_names_them(
    sample: RunSet, tmp_path: Path
) -> None:
    store = stored_history(tmp_path, sample)
    with pytest.raises(InputError, match=r"no nights of scenario 'other' \(scenarios: sample\)"):
        attachments.read("other", store, None)


def test_a_profile_of_another_scenario_is_refused(tmp_path: Path) -> None:
    folder = stored_profile(tmp_path / "p", "why")
    with pytest.raises(InputError, match="profile of scenario 'why', but the results are of 's"):
        attachments.read("sample", None, folder)
