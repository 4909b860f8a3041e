"""How profiles are stored, and what follows from what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import profiles
import pytest

from llmbench.errors import InputError
from llmbench.runs import profile


def test_what_is_stored_is_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "why"
    profile.create(profiles.profile(folder))
    for case in (profiles.case(), profiles.failed()):
        profile.add(folder, case)
    stored = profiles.profile(folder, profiles.case(), profiles.failed())
    assert profile.read(folder) == stored
    assert profile.is_profile(folder)
    assert [case.case for case in stored.failed] == ["onnx"]


def test_figures_follow_from_what_is_stored() -> None:
    found = profiles.phase()
    assert found.seconds == 0.004
    assert found.ratio == pytest.approx(1.25)
    assert found.profiled_seconds == pytest.approx(0.005)
    assert found.idle_seconds == pytest.approx(0.0015)
    assert (found.launches_per_step, found.launches_per_token) == (12, 3)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match=r"is not empty; give a new folder$"):
        profile.create(profiles.profile(tmp_path))


@pytest.mark.parametrize("told", ["{", "[]", '{"format": "llmbench profile", "schema_version": 9}'])
def test_what_is_no_profile_of_this_version_is_refused(tmp_path: Path, told: str) -> None:
    (tmp_path / profile.FILE).write_text(told)
    with pytest.raises(InputError, match="profile again"):
        profile.read(tmp_path)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    profile.create(profiles.profile(tmp_path / "why"))
    told = json.loads((tmp_path / "why" / profile.FILE).read_text())
    assert (told["format"], told["schema_version"]) == ("llmbench profile", 1)
